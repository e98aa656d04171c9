import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttp, type Server } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { createServer as createTcp, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Checker, type CheckResult, CheckSlots } from '../../src/balancer/health/checker.ts';
import { readHealth } from '../../src/balancer/health/declaration.ts';
import type { HealthCheck } from '../../src/balancer/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import { Links } from '../../src/rtnetlink/index.ts';
import { cleanUps, descriptors, make } from '../support/namespaces.ts';

/** Answers each datagram with its own bytes. */
const ECHO = `
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address));
socket.bind(5353, () => console.log('ready'));
`;

/** A check ends its connection by RST. */
const ignoring = (socket: Socket) => void socket.on('error', () => {});

/** The address that only the balancer's namespace reaches. */
const ADDRESS = '10.99.0.2';

describe('checks of servers', () => {
  /** A balancer and a server, each in a namespace of its own, with a wire between. */
  async function pair() {
    const [balancer, server] = [make(), make()];
    await using inside = Links.open({ netns: balancer });
    await using there = Links.open({ netns: server });
    await inside.createVeth({ name: 'eth0', up: true, peer: { name: 'eth0', netns: server } });
    await there.set('eth0', { up: true });
    await inside.addAddress('eth0', '10.99.0.1/24');
    await there.addAddress('eth0', `${ADDRESS}/24`);
    return { balancer, server };
  }

  async function listen<S extends Server | ReturnType<typeof createTcp>>(netns: NetNs, server: S): Promise<number> {
    netns.run(() => server.listen(0));
    await once(server, 'listening');
    cleanUps.add(() => server.close());
    return (server.address() as { port: number }).port;
  }

  async function check(netns: NetNs, health: HealthCheck, port: number, address = ADDRESS): Promise<CheckResult> {
    const read = readHealth({ intervalMs: 50, timeoutMs: 500, ...health } as HealthCheck, { scheduler: 'rr' }, []);
    return new Promise(resolve => {
      const checker = new Checker(
        netns,
        read,
        { service: 's', name: 'n', address, port },
        new CheckSlots(4),
        result => {
          checker.stop();
          resolve(result);
        },
      );
    });
  }

  it('by TCP pass for a port that listens, and fail for one that does not, for a silent host and without a route', async () => {
    const { balancer, server } = await pair();
    const port = await listen(server, createTcp(ignoring));
    expect(await check(balancer, { tcp: true }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { tcp: { closeByFin: true } }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { tcp: true }, 1)).toMatchObject({
      good: false,
      reason: expect.stringContaining('ECONNREFUSED'),
    });
    expect(await check(balancer, { tcp: true, timeoutMs: 200 }, port, '10.99.0.3')).toMatchObject({
      good: false,
      reason: 'no answer in time',
    });
    expect(await check(balancer, { tcp: true }, port, '10.98.0.3')).toMatchObject({
      good: false,
      reason: expect.stringContaining('ENETUNREACH'),
    });
    expect(await check(NetNs.home(), { tcp: true, timeoutMs: 200 }, port)).toMatchObject({ good: false });
  });

  it('by HTTP look at the status, the body and the Host header', async () => {
    const { balancer, server } = await pair();
    const hosts: (string | undefined)[] = [];
    const port = await listen(
      server,
      createHttp((request, response) => {
        hosts.push(request.headers.host);
        response.statusCode = request.url === '/bad' ? 503 : 200;
        response.end(request.url === '/long' ? 'x'.repeat(1_000_000) : 'all is well');
      }),
    );
    expect(await check(balancer, { http: true }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { http: { path: '/bad' } }, port)).toMatchObject({
      good: false,
      reason: 'status 503',
    });
    expect(await check(balancer, { http: { path: '/bad', status: [503] } }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { http: { body: 'well', host: 'web.test' } }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { http: { body: /ill/g } }, port)).toMatchObject({
      good: false,
      reason: 'the body lacks what is wanted',
    });
    expect(await check(balancer, { http: { path: '/long', body: 'xxx' } }, port)).toMatchObject({ good: true });
    expect(hosts).toEqual([
      `${ADDRESS}:${port}`,
      `${ADDRESS}:${port}`,
      `${ADDRESS}:${port}`,
      'web.test',
      `${ADDRESS}:${port}`,
      `${ADDRESS}:${port}`,
    ]);
  });

  it('by HTTP fail for a server that takes the connection and says nothing, or something that is no HTTP', async () => {
    const { balancer, server } = await pair();
    const silent = await listen(server, createTcp(ignoring));
    const rude = await listen(
      server,
      createTcp(socket => socket.on('error', () => {}).end('\u001b[31mno\r\n\r\n')),
    );
    expect(await check(balancer, { http: true, timeoutMs: 200 }, silent)).toMatchObject({
      good: false,
      reason: 'no answer in time',
    });
    const { good, reason = '' } = await check(balancer, { http: true }, rude);
    expect([good, /[^ -~]/.test(reason)]).toEqual([false, false]);
  });

  it('by HTTPS look at the certificate, and fail with ERR_TLS_CERT_ALTNAME_INVALID for another name', async () => {
    const { balancer, server } = await pair();
    const folder = mkdtempSync(join(tmpdir(), 'netsteer-tls-'));
    cleanUps.add(() => rmSync(folder, { recursive: true }));
    const [key, cert] = [join(folder, 'key'), join(folder, 'cert')];
    spawnSync('openssl', [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=web.test',
      '-addext',
      'subjectAltName=DNS:web.test',
      '-keyout',
      key,
      '-out',
      cert,
    ]);
    const ca = readFileSync(cert, 'utf8');
    const port = await listen(
      server,
      createHttps({ key: readFileSync(key), cert: ca }, (_, response) => response.end('well')),
    );
    expect(await check(balancer, { https: { serverName: 'web.test', ca, body: 'well' } }, port)).toMatchObject({
      good: true,
    });
    expect(await check(balancer, { https: { serverName: 'other.test', ca } }, port)).toMatchObject({
      good: false,
      reason: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
    });
    expect(await check(balancer, { https: { serverName: 'web.test' } }, port)).toMatchObject({ good: false });
    expect(await check(balancer, { https: { insecure: true } }, port)).toMatchObject({ good: true });
    expect(await check(balancer, { http: true }, port)).toMatchObject({ good: false });
  });

  it('by UDP want the right answer', async () => {
    const { balancer, server } = await pair();
    // A child that begins in the namespace has its sockets there; those of `dgram` are bound later, elsewhere.
    const echo = server.run(() => spawn(process.execPath, ['-e', ECHO], { stdio: ['ignore', 'pipe', 'inherit'] }));
    cleanUps.add(() => void echo.kill('SIGKILL'));
    await once(echo.stdout!, 'data');
    const results = await Promise.all([
      check(balancer, { udp: { payload: 'ping', answer: 'ping' }, timeoutMs: 300 }, 5353),
      check(balancer, { udp: { payload: 'ping', answer: /pong/ }, timeoutMs: 300 }, 5353),
      check(balancer, { udp: { payload: 'ping' }, timeoutMs: 300 }, 5354),
    ]);
    expect(results).toMatchObject([
      { good: true },
      { good: false, reason: 'no answer in time' },
      { good: false, reason: expect.stringContaining('ECONNREFUSED') },
    ]);
  });

  it('leave no descriptor, whatever their result', async () => {
    const { balancer, server } = await pair();
    const port = await listen(
      server,
      createHttp((_, response) => response.end('x')),
    );
    await check(balancer, { http: true }, port);
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      await check(balancer, { http: true }, port);
      await check(balancer, { http: true }, 1);
      await check(balancer, { tcp: true, timeoutMs: 50 }, port, '10.99.0.3');
    }
    expect(descriptors()).toBeLessThanOrEqual(before + 5);
  });
});
