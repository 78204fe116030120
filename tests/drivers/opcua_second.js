// node-opcua as a second, independent server: `node opcua_second.js FOLDER`. It trusts the clients whose certificates lie in
// FOLDER/pki/trusted/certs and no others. Says {"port": …, "begin": …} on one line when it listens; ends with its input.
"use strict";
const path = require("node:path");
const { OPCUAServer, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, DataType, StatusCodes, standardUnits } =
    require("node-opcua");

const KEPT = 60; // values of the past, one a second

async function main(folder) {
    const certificates = (name, accept) =>
        new OPCUACertificateManager({ rootFolder: path.join(folder, name), automaticallyAcceptUnknownCertificate: accept, keySize: 2048 });
    const server = new OPCUAServer({
        port: 0,
        hostname: "127.0.0.1",
        serverCertificateManager: certificates("pki", false),
        userCertificateManager: certificates("users", true),
        securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
        securityPolicies: [
            SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss,
        ],
        userManager: { isValidUser: (user, password) => user === "reader" && password === "secret" },
        buildInfo: { productName: "second stack", manufacturerName: "node-opcua" },
        serverCapabilities: { operationLimits: { maxNodesPerRead: 5, maxMonitoredItemsPerCall: 5 } },
    });
    await server.initialize();
    const space = server.engine.addressSpace;
    const own = space.getOwnNamespace();
    const meters = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Meters" });
    const mass = own.addAnalogDataItem({
        componentOf: meters, browseName: "Mass", nodeId: "s=Mass", dataType: "Double", minimumSamplingInterval: 50,
        engineeringUnitsRange: { low: 0, high: 1000 }, engineeringUnits: standardUnits.kilogram,
    });
    space.installHistoricalDataNode(mass);
    const begin = Date.now();
    const set = (value, when) => mass.setValueFromSource({ dataType: DataType.Double, value }, StatusCodes.Good, when);
    for (let ago = KEPT; ago > 0; ago--) set(200 - ago, new Date(begin - ago * 1000));
    for (let at = 0; at < 12; at++) {
        own.addVariable({
            componentOf: meters, browseName: `N${at}`, nodeId: `s=N${at}`, dataType: "Int32",
            value: { dataType: DataType.Int32, value: at },
        });
    }
    let value = 200;
    const ticking = setInterval(() => set((value += 1), new Date()), 200);
    await server.start();
    console.log(JSON.stringify({ port: server.endpoints[0].port, begin }));
    process.stdin.resume();
    process.stdin.on("end", async () => {
        clearInterval(ticking);
        await server.shutdown(0);
        process.exit(0);
    });
}

main(process.argv[2]).catch((error) => {
    console.error(error);
    process.exit(1);
});
