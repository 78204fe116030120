/* Both ends of Modbus TCP on libmodbus, for the bench.
 *   libmodbus server         serves 10 registers on loopback; prints the port
 *   libmodbus client PORT    for each number on standard input: so many reads, decoded to five floats; prints the seconds
 * Both end with their standard input. */
#include <arpa/inet.h>
#include <modbus.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REGISTERS = 10, FLOATS = REGISTERS / 2 };
static const float VALUES[FLOATS] = {230.1f, 231.2f, 49.98f, 12.345f, 98765.4f};

static float float_of(const uint16_t *registers)
{
    uint32_t bits = (uint32_t)registers[0] << 16 | registers[1];
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void registers_of(float value, uint16_t *registers)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    registers[0] = (uint16_t)(bits >> 16);
    registers[1] = (uint16_t)bits;
}

static void serve_one(modbus_t *line, modbus_mapping_t *map)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int length;
    while ((length = modbus_receive(line, query)) >= 0)
        if (length > 0 && modbus_reply(line, query, length, map) < 0) break;
    _exit(0);
}

static int serve(void)
{
    modbus_t *line = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, REGISTERS, 0);
    int listening = modbus_tcp_listen(line, 8);
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    if (listening < 0 || map == NULL || getsockname(listening, (struct sockaddr *)&address, &size) < 0) return 1;
    for (int i = 0; i < FLOATS; i++) registers_of(VALUES[i], map->tab_registers + 2 * i);
    signal(SIGCHLD, SIG_IGN);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct pollfd waits[2] = {{listening, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(waits, 2, -1) >= 0) {
        if (waits[1].revents) break;
        if (modbus_tcp_accept(line, &listening) >= 0 && fork() == 0) serve_one(line, map);
        close(modbus_get_socket(line));
    }
    kill(0, SIGTERM);
    return 0;
}

static int ask(int port)
{
    modbus_t *line = modbus_new_tcp("127.0.0.1", port);
    uint16_t registers[REGISTERS];
    volatile float values[FLOATS];
    long count;
    modbus_set_slave(line, 1);
    if (modbus_connect(line) < 0) return 1;
    while (scanf("%ld", &count) == 1) {
        struct timespec begun, ended;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        for (long n = 0; n < count; n++) {
            if (modbus_read_registers(line, 0, REGISTERS, registers) != REGISTERS) return 1;
            for (int i = 0; i < FLOATS; i++) values[i] = float_of(registers + 2 * i);
            if (values[0] != VALUES[0]) return 1;
        }
        clock_gettime(CLOCK_MONOTONIC, &ended);
        printf("%.9f\n", (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec));
        fflush(stdout);
    }
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && !strcmp(words[1], "server")) {
        setpgid(0, 0);
        return serve();
    }
    return count == 3 && !strcmp(words[1], "client") ? ask(atoi(words[2])) : 2;
}
