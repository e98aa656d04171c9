import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Etcd } from '../../src/cluster/etcd.ts';
import { checkEtcd } from '../../src/cluster/etcd-options.ts';
import { Cluster } from '../../src/cluster/index.ts';
import { CuttableProxy } from '../support/cuttable-proxy.ts';
import { EtcdServer } from '../support/etcd.ts';
import { until } from '../support/wait.ts';

const joinAt = (etcd: Parameters<typeof checkEtcd>[0]) =>
  Cluster.join({ etcd, host: 'a', containers: () => undefined });

describe('etcd with users', () => {
  let server: EtcdServer;
  beforeAll(async () => {
    server = await EtcdServer.start();
    const open = new Etcd(checkEtcd({ endpoints: [server.endpoint] }, []));
    await open.call('/v3/auth/user/add', { name: 'root', password: 'secret' });
    await open.call('/v3/auth/role/add', { name: 'root' });
    await open.call('/v3/auth/user/grant', { user: 'root', role: 'root' });
    await open.call('/v3/auth/user/add', { name: 'nobody', password: 'secret' });
    await open.call('/v3/auth/enable', {});
    open.close();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const endpointsOf = () => ({ endpoints: [server.endpoint] });

  it('is joined with a password, and a token that etcd has forgotten is asked for again', async () => {
    const cluster = await joinAt({ ...endpointsOf(), auth: { username: 'root', password: 'secret' } });
    await until(async () => cluster.hosts().some(({ name, alive }) => name === 'a' && alive));
    // Tokens are in the memory of etcd only.
    await server.stop();
    await server.run();
    await until(async () => (await cluster.status()).connected);
    expect(await until(() => cluster.services.list().catch(() => undefined))).toEqual([]);
    // The users change: etcd then refuses every older token, by another error.
    const admin = new Etcd(checkEtcd({ ...endpointsOf(), auth: { username: 'root', password: 'secret' } }, []));
    await admin.call('/v3/auth/user/add', { name: 'another', password: 'x' });
    admin.close();
    expect(await cluster.services.list()).toEqual([]);
    await cluster.leave();
  });

  it.each([
    ['a wrong password', { username: 'root', password: 'wrong' }, /authentication failed/],
    ['a user without a role', { username: 'nobody', password: 'secret' }, /permission denied/],
    ['no user', undefined, /user name is empty/],
  ])('refuses %s at once, and the error does not have the password', async (_, auth, message) => {
    const error: Error = await joinAt({ ...endpointsOf(), ...(auth !== undefined && { auth }) }).then(
      () => expect.unreachable(),
      (reason: Error) => reason,
    );
    expect(error.message).toMatch(message);
    expect(JSON.stringify(error) + error.stack).not.toContain(auth?.password ?? 'secret');
  });
});

describe('etcd with certificates', () => {
  const folder = mkdtempSync(join(tmpdir(), 'netsteer-certificates-'));
  const file = (name: string) => join(folder, name);
  const pem = (name: string) => readFileSync(file(name), 'latin1');
  let server: EtcdServer;
  beforeAll(async () => {
    const openssl = (...parameters: string[]) => execFileSync('openssl', parameters, { stdio: 'ignore' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    openssl('req', '-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-subj', '/CN=ca', '-days', '9');
    writeFileSync(file('names'), 'subjectAltName=DNS:etcd.test\nextendedKeyUsage=serverAuth,clientAuth\n');
    for (const name of ['server', 'client']) {
      openssl('req', ...key, '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`), '-subj', `/CN=${name}`);
      const sign = ['-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '9'];
      openssl(
        'x509',
        '-req',
        '-in',
        file(`${name}.csr`),
        ...sign,
        '-out',
        file(`${name}.pem`),
        '-extfile',
        file('names'),
      );
    }
    server = await EtcdServer.startSecure(
      `--cert-file=${file('server.pem')}`,
      `--key-file=${file('server.key')}`,
      `--trusted-ca-file=${file('ca.pem')}`,
      '--client-cert-auth',
    );
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const secure = () => ({
    ca: pem('ca.pem'),
    serverName: 'etcd.test',
    cert: pem('client.pem'),
    key: pem('client.key'),
  });

  it('is joined with a certificate of its own', async () => {
    const cluster = await joinAt({ endpoints: [server.endpoint], tls: secure() });
    await until(async () => cluster.hosts().some(({ name, alive }) => name === 'a' && alive));
    await cluster.leave();
  });

  it.each([
    ['an authority that is not trusted', ({ ca: _ca, ...rest }: ReturnType<typeof secure>) => rest],
    [
      'a name that the certificate does not have',
      (tls: ReturnType<typeof secure>) => ({ ...tls, serverName: 'other.test' }),
    ],
    ['a client without a certificate', ({ ca, serverName }: ReturnType<typeof secure>) => ({ ca, serverName })],
  ])('is not joined with %s', async (_, change) => {
    await expect(joinAt({ endpoints: [server.endpoint], tls: change(secure()) })).rejects.toThrow(
      /CERT|SSL|TLS|VERIFY/,
    );
  });
});

describe('several members', () => {
  it('a member that hangs is left within a call, and watches are made anew at another', async () => {
    await using server = await EtcdServer.start();
    const hung = await CuttableProxy.to(server.endpoint);
    const etcd = new Etcd(checkEtcd({ endpoints: [hung.endpoint, server.endpoint] }, []));
    const stop = new AbortController();
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { events } of etcd.watch('k', 1n, stop.signal))
        for (const event of events) if (event.type === 'put') seen.push(event.entry.value);
    })().catch(() => {});
    await etcd.transaction([], [{ put: 'k1', value: 'before' }]);
    await until(() => seen.length === 1);
    hung.cut();
    await etcd.transaction([], [{ put: 'k2', value: 'after' }]);
    await until(() => seen.includes('after'));
    // All calls go to the other from now on.
    for (let i = 0; i < 3; i++) expect((await etcd.get('k2'))?.value).toBe('after');
    stop.abort();
    await watching;
    etcd.close();
    hung.close();
  });

  it('a conditional change that was sent and not answered is not sent again', async () => {
    await using server = await EtcdServer.start();
    const hung = await CuttableProxy.to(server.endpoint);
    const etcd = new Etcd(checkEtcd({ endpoints: [hung.endpoint, server.endpoint] }, []));
    expect(await etcd.get('k')).toBeUndefined();
    hung.cut();
    const condition = { key: 'k', target: 'create', revision: 0n } as const;
    await expect(etcd.transaction([condition], [{ put: 'k', value: 'x' }], { once: true })).rejects.toThrow('in time');
    expect(await etcd.get('k')).toBeUndefined();
    expect((await etcd.transaction([condition], [{ put: 'k', value: 'x' }], { once: true })).succeeded).toBe(true);
    etcd.close();
    hung.close();
  });
});
