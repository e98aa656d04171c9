import { type ChildProcess, spawn } from 'node:child_process';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Writer } from '../../src/codec/index.ts';
import { Container } from '../../src/container/index.ts';
import { isNotFound, NetNsError, printable } from '../../src/errors.ts';
import { NETLINK_NETFILTER } from '../../src/linux/netlink.ts';
import { NFNLGRP_NFTABLES } from '../../src/linux/nfnetlink.ts';
import { NetlinkSocket, writeBatchBegin, writeBatchEnd } from '../../src/netlink/index.ts';
import { NetNs } from '../../src/netns/index.ts';
import {
  encodeMessage,
  formatRuleset,
  type MonitorItem,
  Nftables,
  RulesetMirror,
  rulesetJson,
  Transaction,
} from '../../src/nftables/index.ts';
import { compiledSources } from '../support/compiled.ts';
import { refuseControl } from '../support/fuzz/judge.ts';
import { timerFires } from '../support/wait.ts';
import { kernelSuite } from '../support/where.ts';

const NFNL_SUBSYS_NFTABLES = 10;
/** While the flood goes on. */
const COMMITS = 5;

let netns: NetNs;
let nft: Nftables;
const children: ChildProcess[] = [];

beforeEach(() => {
  netns = NetNs.create();
  nft = Nftables.open({ netns });
});
afterEach(async () => {
  for (const child of children.splice(0)) await ended(child);
  await nft[Symbol.asyncDispose]();
  netns.close();
});

function ended(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    child.once('close', () => resolve());
    child.kill('SIGKILL');
  });
}

const table = (name: string) => new Transaction().add({ table: { family: 'ip', name } });

/** Root of the container: sends what looks like events of nf_tables to everyone who listens to them, until it is ended. */
async function forger(): Promise<ChildProcess> {
  const forged = Buffer.from(encodeMessage({ type: 'newtable', family: 'ip', object: { name: 'forged' } })).toString(
    'hex',
  );
  const generation = Buffer.from(encodeMessage({ type: 'newgen', object: { id: 0x7000 } })).toString('hex');
  const script = `
    import { ffi } from './ffi/index.js';
    const fd = ffi().socket(16, 3, ${NETLINK_NETFILTER});
    const to = new Uint8Array(12);
    new DataView(to.buffer).setUint16(0, 16, true);
    ffi().bind(fd, to);
    new DataView(to.buffer).setUint32(8, 1 << ${NFNLGRP_NFTABLES - 1}, true);
    ffi().connect(fd, to);
    const bytes = Buffer.from('${forged}${generation}', 'hex');
    for (let i = 0, sent = 0; ; i++) {
      sent = ffi().send(fd, bytes, bytes.length, 0);
      if (i === 100) process.stdout.write(String(sent));
    }`;
  const child = netns.run(() =>
    spawn(process.execPath, ['--input-type=module', '--eval', script], {
      cwd: compiledSources(),
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  ) as ChildProcess;
  children.push(child);
  const said = await new Promise<string>(resolve => child.stdout!.once('data', chunk => resolve(String(chunk))));
  // The kernel lets it send: whoever may change the rules may.
  expect(Number(said)).toBeGreaterThan(0);
  return child;
}

kernelSuite('hostile containers', () => {
  test('forge events at any rate, which are not believed and do not block the event loop', async () => {
    const monitor = nft.monitor({ initial: true });
    const mirror = new RulesetMirror();
    const items: MonitorItem[] = [];
    const reading = (async () => {
      for await (const item of monitor) {
        items.push(item);
        mirror.apply(item);
      }
    })();
    const child = await forger();
    for (let i = 0; i < COMMITS; i++) {
      await nft.commit(table(`t${i}`));
      // The event loop turns: timers fire while the flood goes on.
      await timerFires(1);
    }
    await ended(child);
    await nft.commit(table('last'));
    const names = () => mirror.ruleset.tables.map(({ name }) => name).sort();
    await expect.poll(names).toContain('last');
    await monitor.close();
    await reading;
    expect(names()).toEqual([...Array.from({ length: COMMITS }, (_, i) => `t${i}`), 'last'].sort());
    expect(JSON.stringify(items, (_, value) => (typeof value === 'bigint' ? String(value) : value))).not.toContain(
      'forged',
    );
    expect(items.filter(item => item.generation === 0x7000)).toEqual([]);
  });

  /** Names and comments as a container's root can make them: the kernel takes any bytes. */
  const NAMES = {
    'escape sequences of terminals': Buffer.from('\x1b[2J\x1b]0;owned\x07'),
    'ends of lines': Buffer.from('a\r\nflush ruleset'),
    'control characters beyond ASCII': Buffer.from('a\u0085\u009b2Jb\u2028'),
    'direction overrides and what is not seen': Buffer.from('\u202ea\ufeff'),
    'what is no UTF-8': Buffer.from([0x61, 0xff, 0xfe, 0x9b, 0x62]),
    'names of JavaScript': Buffer.from('__proto__'),
  };
  const PLACEHOLDER = 'PLACEHOLDER';
  const TABLE = 'TABLEHOLDER';

  /** Commits objects with this name in a table of that one, by messages of our own making. */
  function commitNamed(table: Buffer, name: Buffer): void {
    const messages = [
      encodeMessage({ type: 'newtable', flags: 0x401, sequence: 2, family: 'ip', object: { name: TABLE } }),
      encodeMessage({
        type: 'newchain',
        flags: 0x401,
        sequence: 3,
        family: 'ip',
        object: { table: TABLE, name: PLACEHOLDER },
      }),
      encodeMessage({
        type: 'newset',
        flags: 0x401,
        sequence: 4,
        family: 'ip',
        object: { table: TABLE, name: PLACEHOLDER, id: 1, keyType: 19, keyLength: 4 },
      }),
      encodeMessage({
        type: 'newobj',
        flags: 0x401,
        sequence: 5,
        family: 'ip',
        object: { table: TABLE, name: PLACEHOLDER, type: 'counter', data: {} },
      }),
      encodeMessage({
        type: 'newrule',
        flags: 0xc01,
        sequence: 6,
        family: 'ip',
        object: {
          table: TABLE,
          chain: PLACEHOLDER,
          expressions: [{ log: { group: 5, prefix: PLACEHOLDER } }, { counter: {} }],
        },
      }),
    ];
    const writer = new Writer(4096);
    writeBatchBegin(writer, NFNL_SUBSYS_NFTABLES, 1);
    for (const message of messages) writer.raw(renamed(renamed(message, TABLE, table), PLACEHOLDER, name));
    writeBatchEnd(writer, NFNL_SUBSYS_NFTABLES, 7);
    const socket = new NetlinkSocket({ netns, protocol: NETLINK_NETFILTER });
    expect(socket.send(writer.bytes, writer.length)).toBe(writer.length);
    const answer = new Uint8Array(4096);
    for (let length = socket.receive(answer); length > 0; length = socket.receive(answer))
      expect(new DataView(answer.buffer).getInt32(16, true), 'the errno').toBe(0);
    void socket.close();
  }

  /** The message with another text for each placeholder, filled up by zeros: the kernel ends a name at the first. */
  function renamed(message: Uint8Array, placeholder: string, name: Buffer): Uint8Array {
    const bytes = Buffer.from(message);
    const whole = Buffer.concat([name, Buffer.alloc(64)]).subarray(0, placeholder.length);
    for (let at = bytes.indexOf(placeholder); at >= 0; at = bytes.indexOf(placeholder)) whole.copy(bytes, at);
    return bytes;
  }

  test.each(Object.entries(NAMES))(
    'have names of %s, which are read, and escaped wherever they are printed',
    async (_, whole) => {
      const name = whole.subarray(0, PLACEHOLDER.length);
      const monitor = nft.monitor({ initial: true });
      const events = monitor[Symbol.asyncIterator]();
      await events.next();
      commitNamed(name, name);
      const ruleset = await nft.ruleset({ elements: true });
      expect(
        [ruleset.tables, ruleset.chains, ruleset.sets, ruleset.objects, ruleset.rules].map(list => list.length),
      ).toEqual([1, 1, 1, 1, 1]);
      refuseControl(formatRuleset(ruleset));
      expect(JSON.stringify(rulesetJson(ruleset))).toContain('table');
      // The event says the same, and a mirror holds it.
      const { value } = await events.next();
      expect(value).toMatchObject({ type: 'transaction' });
      new RulesetMirror().apply(value!);
      await monitor.close();
      // Whoever shares a namespace with them works as ever.
      const owner = { prefix: 'mine' };
      const desired = { tables: [{ family: 'ip', name: 'mine' }] } as const;
      await nft.reconcile(desired, owner);
      expect((await nft.plan(desired, owner)).operations).toEqual([]);
      expect(await nft.tables()).toHaveLength(2);
      // In a table of ours, too: it is as wanted in the end.
      commitNamed(Buffer.from('mine'), name);
      expect((await nft.chains({ family: 'ip', table: 'mine' })).length).toBe(1);
      await nft.reconcile(desired, owner);
      expect((await nft.plan(desired, owner)).operations).toEqual([]);
      expect(await nft.chains({ family: 'ip', table: 'mine' })).toEqual([]);
      const container = Container.open({ netns });
      await container.redirects.set([{ protocol: 'tcp', address: '10.0.0.1', port: 80 }]);
      expect(await container.redirects.list()).toHaveLength(1);
      await container[Symbol.asyncDispose]();
      expect(Object.keys(Object.prototype)).toEqual([]);
    },
  );

  test('have a limit that nft has no words for, which is shown and hides no other rule', async () => {
    const place = { family: 'ip', table: 't' } as const;
    const limit = { rate: 5n, unitSeconds: 7n, burst: 5, type: 'packets' as const };
    const rule = { ...place, chain: 'c', expressions: [{ limit }, { counter: {} }] };
    await nft.commit(
      table('t')
        .add({ object: { ...place, name: 'slow', type: 'limit', data: limit } })
        .add({ chain: { ...place, name: 'c' } })
        .add({ rule }),
    );
    const ruleset = await nft.ruleset();
    const text = formatRuleset(ruleset);
    expect(text).toMatch(/\t# limit slow \{\n\t\t# \[ .*"unitSeconds":"7".*\]\n\t# \}\n/);
    expect(text).toMatch(/\[ .*"unitSeconds":"7".*\] (counter|\[ )/);
    expect(rulesetJson(ruleset).nftables.filter(each => 'chain' in each || 'rule' in each)).toHaveLength(2);
  });

  test('have names that errors escape', async () => {
    const name = '\x1b[2J\u009b2J\n\u202e';
    const errors = await Promise.all([
      nft.commit(new Transaction().delete({ chain: { family: 'ip', table: name, name } })).catch(error => error),
      nft.apply({ nftables: [{ list: { table: { family: 'ip', name } } }] }).catch(error => error),
      Container.find('nobody-has-this', { runtime: 'runc' }).catch(error => error),
    ]);
    for (const open of [{ path: `/nowhere/${name}` }, { name }]) {
      try {
        NetNs.open(open as { path: string });
      } catch (error) {
        errors.push(error);
      }
    }
    expect(errors).toHaveLength(5);
    for (const error of errors) {
      expect(error).toBeInstanceOf(Error);
      expect(error.message).toBe(printable(error.message));
    }
    expect(errors.slice(0, 2).every(isNotFound)).toBe(true);
    expect(errors[2]).toBeInstanceOf(NetNsError);
  });
});
