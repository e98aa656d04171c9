import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { Engine } from '../../src/container/find/engine.ts';
import { findContainer } from '../../src/container/find/find.ts';
import { printable, StateError } from '../../src/errors.ts';
import { Ipvs } from '../../src/ipvs/index.ts';
import { Exchange, GroupReader, type GroupSocket, messageAt } from '../../src/netlink/index.ts';
import { pidIn, startTimeIn } from '../../src/netns/process.ts';
import { effectiveIn } from '../../src/netns/user.ts';
import { ALL_MESSAGES } from '../../src/nf_tables/all-messages.ts';
import { readMessage } from '../../src/nf_tables/whole-message.ts';
import {
  decompileRule,
  formatRule,
  formatRuleset,
  Nftables,
  type RuleEntry,
  rulesetJson,
} from '../../src/nftables/index.ts';
import { isTyped } from '../support/fuzz/judge.ts';
import { bytesOf, nested } from '../support/fuzz/nftables.ts';
import recorded from '../support/fuzz/recorded.json' with { type: 'json' };
import { IpvsKernel, IpvsKernelTransport } from '../support/ipvs-kernel.ts';
import { MemoryTransport, received, refuse } from '../support/memory-transport.ts';
import { timerFires } from '../support/wait.ts';

/* Inputs that the fuzz of test/support/fuzz has found, and what enemies would do by design. */

function caught(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

test('a rule without the attribute of its expressions has no expressions', () => {
  const rule = { family: 'ip' } as unknown as RuleEntry;
  expect(decompileRule(rule)).toEqual([]);
  expect(formatRule({ ...rule, comment: 'empty' } as RuleEntry)).toBe('comment "empty"');
});

test('objects whose names are not UTF-8 are shown without a name', () => {
  const table = { family: 'ip', unknown: [{ type: 1, bytes: 'ff00' }] };
  const ruleset = { tables: [table], chains: [], sets: [], rules: [], objects: [], flowtables: [] };
  expect(formatRuleset(ruleset as never)).toBe('# table ip (no text) {\n# }\n');
});

test('a set whose name is not UTF-8 is shown raw', () => {
  const table = { family: 'ip', name: 't' };
  const set = { family: 'ip', table: 't', keyType: 19, keyLength: 4, unknown: [{ type: 2, bytes: 'ff00' }] };
  const ruleset = { tables: [table], chains: [], sets: [set], rules: [], objects: [], flowtables: [] };
  expect(formatRuleset(ruleset as never)).toBe(
    `table ip t {\n\t# set (no text) {\n\t\t# [ ${JSON.stringify(set)} ]\n\t# }\n}\n`,
  );
  expect(rulesetJson(ruleset as never).nftables.at(-1)).toEqual({ set: { family: 'ip', table: 't' } });
});

test('a limit per a time that nft has no word for is shown raw', () => {
  const table = { family: 'ip', name: 't' };
  const data = { rate: 5n, unitSeconds: 7n, burst: 5, type: 'packets', flags: [] };
  const object = { family: 'ip', table: 't', name: 'l', type: 'limit', data };
  const ruleset = { tables: [table], chains: [], sets: [], rules: [], objects: [object], flowtables: [] };
  expect(formatRuleset(ruleset as never)).toMatch(
    /^table ip t \{\n\t# limit l \{\n\t\t# \[ .*"unitSeconds":"7".* \]\n\t# \}\n\}\n$/,
  );
  expect(rulesetJson(ruleset as never).nftables.at(-1)).toEqual({ limit: { family: 'ip', name: 'l', table: 't' } });
});

test('loads longer than all registers are shown raw', () => {
  const rule = {
    family: 'ip',
    expressions: [
      { payload: { base: 'network', offset: 12, length: 0x80000000, register: 1 } },
      { cmp: { register: 1, op: 'eq', data: '0a000001' } },
    ],
  } as unknown as RuleEntry;
  expect(decompileRule(rule)).toEqual([{ raw: rule.expressions }]);
  expect(formatRule(rule)).toContain('2147483648');
});

test('impossible counts of a list are rejected with ERR_MALFORMED', () => {
  const kernel = new IpvsKernel();
  const wire = new IpvsKernelTransport(kernel, 'sockopt');
  const options = {
    set: kernel.options.set,
    get: (level: number, name: number, buffer: Uint8Array) => {
      const length = kernel.options.get(level, name, buffer);
      // ip_vs_getinfo: version, size, number of services.
      if (buffer.length === 12) new DataView(buffer.buffer).setUint32(8, 0xffffffff, true);
      return length;
    },
  };
  Object.defineProperty(wire, 'options', { value: () => options });
  const { sync } = new Ipvs(new Exchange(wire, 'ipvs'));
  expect(caught(() => sync.services())).toMatchObject({ code: 'ERR_MALFORMED' });
});

test.each([1, 0x7fffffff, -4096, -0x80000000])('the errno %i is rejected with ERR_MALFORMED', errno => {
  const wire = new MemoryTransport(datagram => received(datagram).map(request => refuse(request, errno)));
  const { sync } = new Nftables(new Exchange(wire, 'nftables'));
  expect(caught(() => sync.generation())).toMatchObject({ code: 'ERR_MALFORMED' });
});

test('attributes nested as deep as possible end with an error or are kept raw', () => {
  for (const depth of [10, 1000, 16_000]) {
    const bytes = nested(depth);
    const result = caught(() => readMessage(messageAt(sourceOf(bytes), 0, bytes.length)));
    if (result instanceof Error) expect(isTyped(result), String(result)).toBe(true);
    else expect(result).toMatchObject({ type: 'newrule' });
  }
});

test('every recorded message is read unchanged and has a known type', () => {
  const names = bytesOf(recorded.nftables).map(bytes => readMessage(messageAt(sourceOf(bytes), 0, bytes.length)).type);
  expect(new Set(names).size).toBeGreaterThan(5);
  for (const name of names) expect(ALL_MESSAGES).toHaveProperty(name);
});

test('forged datagrams that arrive faster than they are read let the event loop run', async () => {
  let reads = 0;
  const socket: GroupSocket = {
    closed: false,
    // Another forged one is always there.
    receiveFrom(_into, address) {
      reads++;
      new DataView(address.buffer).setUint32(4, 4242, true);
      return 20;
    },
    watch: () => ({ ref() {}, unref() {}, close() {} }),
    close: async () => {},
  };
  const reader = new GroupReader(socket);
  const reading = reader.read();
  // A timer fires although there is always something to read; the test would hang otherwise.
  await timerFires(20);
  const closing = reader.close();
  expect(await reading).toBe('closed');
  await closing;
  expect(reader.rejectedSenders).toBe(reads);
  expect(reads).toBeGreaterThan(0);
});

test('the text of an error with ERR_RUNTIME moves no cursor when it is printed', () => {
  const { message } = new StateError('ERR_RUNTIME', 'a\x1b[2J\u009b2J\nb\u2028\u202e');
  expect(message).toBe('ERR_RUNTIME: a\\x1b[2J\\x9b2J\\x0ab\\u2028\\u202e');
  expect(message).toBe(printable(message));
});

test.each([
  ['a FIFO', (file: string) => execFileSync('mkfifo', [file])],
  ['a device without an end', (file: string) => fs.symlinkSync('/dev/zero', file)],
  ['a folder', (file: string) => fs.mkdirSync(file)],
  ['more than state can be', (file: string) => fs.writeFileSync(file, Buffer.alloc(9 << 20, ' '))],
])(
  '%s in place of the state of a rootless runtime blocks nothing: rejects the search with ERR_NO_CONTAINER',
  async (_, put) => {
    const root = fs.mkdtempSync(join(tmpdir(), 'netsteer-hostile-'));
    const id = 'c0ffee0123456789';
    const file = join(root, 'run/user/1000/containers/overlay-containers', id, 'userdata/pidfile');
    try {
      fs.mkdirSync(dirname(file), { recursive: true });
      put(file);
      await expect(findContainer(id, { runtime: 'podman' }, { root })).rejects.toMatchObject({
        code: 'ERR_NO_CONTAINER',
      });
      // A file as it should be, in the same place, is found.
      fs.rmSync(file, { recursive: true });
      fs.writeFileSync(file, '42\n');
      expect(await findContainer(id, { runtime: 'podman' }, { root })).toMatchObject({ id, pid: 42 });
    } finally {
      fs.rmSync(root, { recursive: true });
    }
  },
);

/** A daemon that says this to everybody, and hangs up where `ends`; `left` resolves when the first one has hung up. */
async function daemon(text: string, ends = true): Promise<{ socket: string; left: Promise<void> } & AsyncDisposable> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-hostile-'));
  const socket = join(folder, 'docker.sock');
  const open = new Set<net.Socket>();
  let leave = () => {};
  const left = new Promise<void>(resolve => {
    leave = resolve;
  });
  const server = net.createServer(connection => {
    open.add(connection);
    connection.once('close', leave);
    connection.on('error', () => {});
    connection.once('data', () => (ends ? connection.end(text) : connection.write(text)));
  });
  await new Promise<void>(resolve => server.listen(socket, resolve));
  return {
    socket,
    left,
    async [Symbol.asyncDispose]() {
      for (const connection of open) connection.destroy();
      await new Promise(resolve => server.close(resolve));
      fs.rmSync(folder, { recursive: true });
    },
  };
}

const OK = 'HTTP/1.1 200 OK\r\n';

test.each([
  ['hangs up', ''],
  ['hangs up in the middle of its answer', `${OK}Content-Length: 100\r\n\r\n{"Id":`],
  ['hangs up in the middle of a part', `${OK}Transfer-Encoding: chunked\r\n\r\n50\r\n{"Id"`],
  ['lies about the length of a part', `${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
  ['wants to talk another protocol', 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\nhello'],
  ['only says that more will come', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ['talks another protocol', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['has an id that is none', `${OK}\r\n{"Id":"\\ud800","State":{"Pid":1}}`],
  ['has an id that is a path', `${OK}\r\n{"Id":"../../images","State":{"Pid":1}}`],
])('a daemon that %s is rejected with ERR_RUNTIME', async (_, text) => {
  await using there = await daemon(text);
  const error = { code: 'ERR_RUNTIME', message: expect.stringContaining(there.socket) };
  await expect(new Engine(there.socket).inspect('web1')).rejects.toMatchObject(error);
  await expect(findContainer('web1', { socket: there.socket })).rejects.toBeInstanceOf(StateError);
});

test('a daemon that does not end its reply is rejected with ERR_RUNTIME after the time limit', async () => {
  await using there = await daemon(`${OK}Content-Length: 100\r\n\r\n{"Id":`, false);
  await expect(new Engine(there.socket, 100).inspect('web1')).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
});

test('events of containers with an impossible id are ignored', async () => {
  const ids = ['\\ud800', '../../images', '', 'a\\u202e', 'good'];
  const events = ids.map(id => `{"Type":"container","Action":"start","Actor":{"ID":"${id}"}}\n`).join('');
  await using there = await daemon(`${OK}\r\n${events}[]\nno JSON\n{"Actor":{"ID":["x"]}}\n`);
  const told: string[] = [];
  for await (const id of new Engine(there.socket).starts(new AbortController().signal)) told.push(id);
  expect(told).toEqual(['good']);
});

test('a daemon that refuses events is rejected with ERR_RUNTIME', async () => {
  await using there = await daemon('HTTP/1.1 500 Broken\r\nContent-Length: 100\r\n\r\nx', false);
  const events = new Engine(there.socket).starts(new AbortController().signal);
  await expect(events.next()).rejects.toMatchObject({ code: 'ERR_RUNTIME' });
  await there.left;
});

test('impossible files of a process are rejected with ERR_NOT_A_PIDFD', () => {
  expect(pidIn('flags:\t02\nPid:\t4711\nNSpid:\t4711\n', 3)).toBe(4711);
  for (const info of ['', 'Pid:\t\n', 'Pid:\t12345678901\n', 'Pid:\t4294967296\n', 'Pid: 1\n'])
    expect(() => pidIn(info, 3)).toThrow(expect.objectContaining({ code: 'ERR_NOT_A_PIDFD' }));
  for (const info of ['Pid:\t-1\n', 'Pid:\t0\n'])
    expect(() => pidIn(info, 3)).toThrow(expect.objectContaining({ code: 'ESRCH' }));
  // A process can call itself as it likes: 'x) S 1 2'.
  const stat = (name: string) => `47 (${name}) S ${Array.from({ length: 30 }, (_, i) => i + 4).join(' ')}`;
  expect([stat('sh'), stat('x) S 1 2 3'), stat(') ')].map(startTimeIn)).toEqual(['22', '22', '22']);
  expect(['', '47 (sh', '47 (sh) S 1', stat('sh').replace(' 22 ', ' -1 ')].map(startTimeIn)).toEqual(
    Array(4).fill(undefined),
  );
  expect(effectiveIn('CapInh:\tff\nCapEff:\t0000000000001000\n')).toBe(0x1000n);
  for (const status of ['', 'CapEff:\tzz\n', `CapEff:\t${'f'.repeat(17)}\n`]) expect(effectiveIn(status)).toBe(0n);
});
