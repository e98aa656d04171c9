import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a server that can be cut: what is cut says nothing, as a link that is down. */
export class CuttableProxy {
  readonly endpoint: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  #cut = false;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.endpoint = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  static async to(endpoint: string): Promise<CuttableProxy> {
    const { hostname, port } = new URL(endpoint);
    const sockets = new Set<Socket>();
    const state: { proxy?: CuttableProxy } = {};
    const server = createServer(client => {
      const upstream = connect(Number(port), hostname);
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from);
        from.on('data', data => {
          if (state.proxy?.isCut !== true) to.write(data);
        });
        from.on('error', () => to.destroy());
        from.on('close', () => {
          sockets.delete(from);
          if (state.proxy?.isCut !== true) to.destroy();
        });
      }
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    state.proxy = new CuttableProxy(server, sockets);
    return state.proxy;
  }

  get isCut(): boolean {
    return this.#cut;
  }

  cut(): void {
    this.#cut = true;
  }

  /** Connections that were cut are lost: their bytes are gone. */
  mend(): void {
    this.#cut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
