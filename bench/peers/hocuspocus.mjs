// Hocuspocus as its documentation starts it: no extension, no hook, no storage. Usage: node hocuspocus.mjs PORT
import { Server } from "@hocuspocus/server";

const server = new Server({ address: "127.0.0.1", port: Number(process.argv[2]), quiet: true });
await server.listen();
