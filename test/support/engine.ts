import http from 'node:http';

/** A daemon with docker's Engine API, as far as the library asks it. */
export class FakeEngine {
  readonly #containers = new Map<string, object>();
  readonly #listeners = new Set<http.ServerResponse>();
  readonly #server = http.createServer((request, response) => this.#answer(request.url ?? '', response));
  /** What it says instead, for a daemon that is ill. */
  broken: { status: number; body: string } | undefined;
  /** Called when it has told of a container. */
  onTold: (() => void) | undefined;

  async listen(socketPath: string): Promise<void> {
    await new Promise<void>(resolve => this.#server.listen(socketPath, resolve));
  }

  /** As `docker inspect` shows a container that runs, in the fields that matter. */
  start(id: string, name: string, pid: number, networkMode = 'bridge'): void {
    this.#containers.set(id, {
      Id: id,
      Name: `/${name}`,
      State: { Status: 'running', Running: true, Pid: pid },
      HostConfig: { NetworkMode: networkMode },
    });
    this.tell(`${JSON.stringify({ Type: 'container', Action: 'start', Actor: { ID: id, Attributes: { name } } })}\n`);
  }

  tell(text: string): void {
    for (const listener of this.#listeners) listener.write(text);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  #answer(url: string, response: http.ServerResponse): void {
    if (this.broken !== undefined) {
      response.writeHead(this.broken.status).end(this.broken.body);
      return;
    }
    if (url.startsWith('/events')) {
      this.#listeners.add(response);
      response.once('close', () => this.#listeners.delete(response));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.flushHeaders();
      return;
    }
    const id = decodeURIComponent(/^\/containers\/(.+)\/json$/.exec(url)?.[1] ?? '');
    const found =
      this.#containers.get(id) ??
      [...this.#containers.values()].find(each => (each as { Name: string }).Name === `/${id}`);
    if (found === undefined) response.writeHead(404).end(JSON.stringify({ message: `No such container: ${id}` }));
    else response.writeHead(200).end(JSON.stringify(found));
    if (found !== undefined) this.onTold?.();
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
