/* A meter made of libmodbus, an implementation that shares no line with ours.
 *
 *     libmodbus_server tcp             on a loopback port of its own, which it prints
 *     libmodbus_server rtu PATH BAUD   on a serial port; prints "ready"
 *
 * Unit 7. It ends with its standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_double(uint16_t *to, double value) {
    uint64_t bits;
    memcpy(&bits, &value, 8);
    for (int word = 0; word < 4; word++)
        to[word] = (uint16_t)(bits >> (48 - 16 * word));
}

/* libmodbus's own modbus_set_float_* order the bytes of the host's memory, not those on the wire. */
static void put_float(uint16_t *to, float value, const char *order) {
    uint32_t bits;
    uint8_t sent[4];
    memcpy(&bits, &value, 4);
    for (int at = 0; at < 4; at++)
        sent[at] = (uint8_t)(bits >> (24 - 8 * (order[at] - 'A')));
    to[0] = (uint16_t)(sent[0] << 8 | sent[1]);
    to[1] = (uint16_t)(sent[2] << 8 | sent[3]);
}

static void put_text(uint16_t *to, const char *text) {
    for (size_t at = 0; at < strlen(text); at += 2)
        to[at / 2] = (uint16_t)((unsigned char)text[at] << 8 | (unsigned char)text[at + 1]);
}

static void fill(uint16_t *registers) {
    registers[0] = 65535;
    registers[1] = (uint16_t)-2;
    MODBUS_SET_INT32_TO_INT16(registers, 2, -123456789);
    MODBUS_SET_INT64_TO_INT16(registers, 4, INT64_C(1234567890123456789));
    put_float(registers + 8, 230.2f, "ABCD");
    put_float(registers + 10, 230.2f, "DCBA");
    put_float(registers + 12, 230.2f, "BADC");
    put_float(registers + 14, 230.2f, "CDAB");
    put_double(registers + 16, -1234567.891);
    registers[20] = 0x1234, registers[21] = 0x5678, registers[22] = 0x9012;
    put_text(registers + 30, "ADL400-N");
    registers[40] = 1234, registers[41] = (uint16_t)-2;
    registers[50] = 2026, registers[51] = 11, registers[52] = 23, registers[53] = 22, registers[54] = 5, registers[55] = 59;
}

static void *until_input_ends(void *unused) {
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    exit(0);
    return unused;
}

static int serve(modbus_t *context, modbus_mapping_t *map) {
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(context, query);
        if (length > 0)
            modbus_reply(context, query, length, map);
        else if (length < 0 && errno != EMBBADCRC && errno != ETIMEDOUT)
            return 0;
    }
}

int main(int count, char **given) {
    pthread_t watcher;
    modbus_mapping_t *map = modbus_mapping_new(64, 64, 100, 100);
    fill(map->tab_registers);
    fill(map->tab_input_registers);
    map->tab_bits[3] = 1;
    map->tab_input_bits[10] = 1;
    pthread_create(&watcher, NULL, until_input_ends, NULL);
    if (count == 4 && !strcmp(given[1], "rtu")) {
        modbus_t *context = modbus_new_rtu(given[2], atoi(given[3]), 'N', 8, 1);
        if (context == NULL || modbus_set_slave(context, 7) || modbus_connect(context))
            return 1;
        puts("ready"), fflush(stdout);
        while (1)
            serve(context, map);
    }
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    int server = modbus_tcp_listen(context, 1);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    getsockname(server, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port)), fflush(stdout);
    while (modbus_tcp_accept(context, &server) >= 0)
        serve(context, map);
    return 1;
}
