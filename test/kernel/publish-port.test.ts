import dgram from 'node:dgram';
import type { NetNs } from 'netsteer';
import { Conntrack } from 'netsteer/conntrack';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PublishedPort } from '../../examples/publish-port/published-port.ts';
import { Agent } from '../support/ipvs-agent.ts';
import { ADDRESSES, TrafficLab } from '../support/traffic-lab.ts';
import { until } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

/* The router is the host, the server and the other one are containers. */
const HOST = '10.1.0.1';
const HOST_INSIDE = '10.2.0.1';
const { server, other } = ADDRESSES.ipv4;

kernelSuite('the example publish-port', () => {
  let lab: TrafficLab;
  let ct: Conntrack;
  let inside: Agent;
  let host: Agent;
  let texts = 0;
  const sockets: dgram.Socket[] = [];

  /** A UDP server that answers with its name and who has asked. */
  function answering(netns: NetNs, name: string, port: number): void {
    const socket = dgram.createSocket({ type: 'udp4', lookup: (address, _, found) => found(null, address, 4) });
    socket.on('message', (data, from) => socket.send(`${name} ${from.address} ${data}`, from.port, from.address));
    netns.run(() => socket.bind(port, '0.0.0.0'));
    sockets.push(socket);
  }

  beforeAll(() => {
    lab = new TrafficLab();
    ct = lab.keep(Conntrack.open({ netns: lab.router }));
    inside = new Agent(lab.server);
    host = new Agent(lab.router);
    answering(lab.server, 'first', 5353);
    answering(lab.other, 'second', 5354);
    lab.serve(lab.server, 'web', 8080);
    lab.serve(lab.other, 'other web', 8081);
  });
  afterAll(async () => {
    inside.stop();
    host.stop();
    for (const socket of sockets) socket.close();
    await lab.close();
  });

  it('leads datagrams from outside, of the host and of the container itself, and ends flows when it moves', async () => {
    const published = new PublishedPort(lab.nft, ct, { protocol: 'udp', port: 53 });
    expect(await published.leadTo({ address: server, port: 5353 })).toBe(0);
    const client = lab.datagrams(lab.client, ADDRESSES.ipv4.client);
    const ask = async () => {
      const text = `question ${texts++}`;
      await client.send(text, HOST, 53);
      return (await until(() => client.heard.find(each => each.text.endsWith(text)), text))!;
    };
    expect(await ask()).toMatchObject({ text: expect.stringMatching(/^first 10\.1\.0\.2 /), from: HOST, port: 53 });
    expect(await host.datagram('host', 'hello', { host: HOST_INSIDE, port: 53 })).toMatch(/^first /);
    // By way of the host: the container hears the host.
    expect(await inside.datagram('hairpin', 'hello', { host: HOST_INSIDE, port: 53 })).toBe(
      `first ${HOST_INSIDE} hello`,
    );

    // Again, nothing moves.
    expect(await published.leadTo({ address: server, port: 5353 })).toBe(0);
    expect((await ask()).text).toMatch(/^first /);
    const bystander = {
      protocol: 'udp',
      source: '10.1.0.9',
      sourcePort: 9,
      destination: HOST,
      destinationPort: 54,
    } as const;
    const { protocol, ...original } = bystander;
    await ct.create({
      protocol,
      original,
      timeoutSeconds: 1000,
      nat: { destination: { address: server, port: 5353 } },
    });
    expect(await published.leadTo({ address: other, port: 5354 })).toBe(3);
    expect((await ask()).text).toMatch(/^second 10\.1\.0\.2 /);
    expect(await ct.get(bystander)).toBeDefined();
    expect(await published.close()).toBe(1);
    expect(await lab.nft.tables()).toEqual([]);
  });

  it('lets TCP connections go on when it moves, and ends them when it is taken away', async () => {
    const published = new PublishedPort(lab.nft, ct, { protocol: 'tcp', port: 80 });
    await published.leadTo({ address: server, port: 8080 });
    expect(await lab.agent.open('kept', { host: HOST, port: 80 })).toMatch(/^web /);
    expect(await published.leadTo({ address: other, port: 8081 })).toBe(0);
    expect(await lab.agent.ask('kept', 'still there?')).toBe('web: still there?');
    expect(await lab.visit(HOST, 80)).toMatch(/^other web /);
    expect(await published.close()).toBeGreaterThan(0);
  });
});
