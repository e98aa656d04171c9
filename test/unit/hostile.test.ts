import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceOf } from '../../src/codec/index.ts';
import { findContainer } from '../../src/container/find.ts';
import { printable, StateError } from '../../src/errors.ts';
import { Ipvs } from '../../src/ipvs/index.ts';
import { decompileRule, formatRule, formatRuleset, type RuleEntry, rulesetJson } from '../../src/nftables/index.ts';
import { MESSAGES, readMessage } from '../../src/nftables/message.ts';
import { Nftables } from '../../src/nftables/nftables.ts';
import { GroupReader, type GroupSocket } from '../../src/transport/group.ts';
import { Exchange, messageAt } from '../../src/transport/index.ts';
import { isTyped } from '../support/fuzz/judge.ts';
import { bytesOf, nested } from '../support/fuzz/nftables.ts';
import recorded from '../support/fuzz/recorded.json' with { type: 'json' };
import { IpvsKernel, IpvsKernelWire } from '../support/ipvs-kernel.ts';
import { MemoryWire, received, refuse } from '../support/memory-wire.ts';

/* Inputs that the fuzz of test/support/fuzz has found, and what enemies would do by design. */

function caught(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

test('a rule without the attribute of its expressions has none', () => {
  const rule = { family: 'ip' } as unknown as RuleEntry;
  expect(decompileRule(rule)).toEqual([]);
  expect(formatRule({ ...rule, comment: 'empty' } as RuleEntry)).toBe('comment "empty"');
});

test('objects whose names are no text are shown without one', () => {
  const table = { family: 'ip', unknown: [{ type: 1, bytes: 'ff00' }] };
  const ruleset = { tables: [table], chains: [], sets: [], rules: [], objects: [], flowtables: [] };
  expect(formatRuleset(ruleset as never)).toBe('table ip (no text) {\n}\n');
});

test('a set whose name is no text is shown as it is', () => {
  const table = { family: 'ip', name: 't' };
  const set = { family: 'ip', table: 't', keyType: 19, keyLength: 4, unknown: [{ type: 2, bytes: 'ff00' }] };
  const ruleset = { tables: [table], chains: [], sets: [set], rules: [], objects: [], flowtables: [] };
  expect(formatRuleset(ruleset as never)).toBe(
    `table ip t {\n\tset (no text) {\n\t\t[ ${JSON.stringify(set)} ]\n\t}\n}\n`,
  );
  expect(rulesetJson(ruleset as never).nftables.at(-1)).toEqual({ set: { family: 'ip', table: 't' } });
});

test('loads that are longer than all registers are shown as they are', () => {
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

test('counts that no list can have are not believed', () => {
  const kernel = new IpvsKernel();
  const wire = new IpvsKernelWire(kernel, 'sockopt');
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

test.each([1, 0x7fffffff, -4096, -0x80000000])('the errno %i is none', errno => {
  const wire = new MemoryWire(datagram => received(datagram).map(request => refuse(request, errno)));
  const { sync } = new Nftables(new Exchange(wire, 'nftables'));
  expect(caught(() => sync.generation())).toMatchObject({ code: 'ERR_MALFORMED' });
});

test('attributes that are nested as deep as can be end with an error of their own, or as they are', () => {
  for (const depth of [10, 1000, 16_000]) {
    const bytes = nested(depth);
    const result = caught(() => readMessage(messageAt(sourceOf(bytes), 0, bytes.length)));
    if (result instanceof Error) expect(isTyped(result), String(result)).toBe(true);
    else expect(result).toMatchObject({ type: 'newrule' });
  }
});

test('every recorded message is read as it is, and its type is known', () => {
  const names = bytesOf(recorded.nftables).map(bytes => readMessage(messageAt(sourceOf(bytes), 0, bytes.length)).type);
  expect(new Set(names).size).toBeGreaterThan(5);
  for (const name of names) expect(MESSAGES).toHaveProperty(name);
});

test('forged datagrams that come faster than they are read let the event loop turn', async () => {
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
  await new Promise(resolve => setTimeout(resolve, 20));
  const closing = reader.close();
  expect(await reading).toBe('closed');
  await closing;
  expect(reader.rejectedSenders).toBe(reads);
  expect(reads).toBeGreaterThan(0);
});

test('what is printed of an error moves no cursor', () => {
  const { message } = new StateError('ERR_RUNTIME', 'a\x1b[2J\u009b2J\nb\u2028');
  expect(message).toBe('ERR_RUNTIME: a\\x1b[2J\\x9b2J\\x0ab\\x2028');
  expect(message).toBe(printable(message));
});

test.each([
  ['a FIFO', (file: string) => execFileSync('mkfifo', [file])],
  ['a device without an end', (file: string) => fs.symlinkSync('/dev/zero', file)],
  ['a folder', (file: string) => fs.mkdirSync(file)],
  ['more than state can be', (file: string) => fs.writeFileSync(file, Buffer.alloc(9 << 20, ' '))],
])('%s in place of the state of a rootless runtime holds nothing up', async (_, put) => {
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
});
