import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { NetlinkError } from '../../src/errors.ts';
import { type Expression, iptablesNflog, iptablesRedirect, Nftables, Transaction } from '../../src/nftables/index.ts';
import { freshNamespaces, netns, nft } from '../support/fresh-namespace.ts';
import { isLong, kernelSuite } from '../support/where.ts';

const T = { family: 'ip', table: 't' } as const;

freshNamespaces();

const set = () => nft.sync.elements({ family: 'ip', table: 't', name: 's' } as never);

kernelSuite('several writers and readers at the same time', () => {
  test('never lose an update where both writers use generations', async () => {
    nft.sync.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ set: { ...T, name: 's', key: 'mark', elements: [0] } }),
    );
    const rounds = isLong ? 2000 : 200;
    const conflicts = { count: 0 };
    const increment = async () => {
      const writer = Nftables.open({ netns });
      for (let i = 0; i < rounds; ) {
        const generation = await writer.generation();
        const [element] = await writer.elements({ family: 'ip', table: 't', name: 's' } as never);
        const count = countOf(element);
        const change = new Transaction()
          .delete({ element: { ...T, set: 's', type: { key: 'mark' }, elements: [count] } })
          .add({ element: { ...T, set: 's', type: { key: 'mark' }, elements: [count + 1] } });
        try {
          await writer.commit(change, { generation });
          i++;
        } catch (error) {
          if (!(error instanceof NetlinkError) || error.code !== 'ERESTART') throw error;
          conflicts.count++;
        }
        await new Promise(resolve => setImmediate(resolve));
      }
      await writer[Symbol.asyncDispose]();
    };
    await Promise.all([increment(), increment()]);
    expect(countOf(set()[0])).toBe(2 * rounds);
    expect(conflicts.count, 'they did meet').toBeGreaterThan(0);
  });

  test('keep indexes right while another writer moves the rules', async () => {
    const comment = (text: string) => ({
      rule: { ...T, chain: 'c', expressions: [{ counter: {} }] as Expression[], comment: text },
    });
    nft.sync.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ chain: { ...T, name: 'c' } })
        .add(comment('last')),
    );
    const other = Nftables.open({ netns });
    const rounds = 100;
    const mine = async () => {
      for (let i = 0; i < rounds; i++) {
        await nft.commit(new Transaction().insert({ rule: { ...comment('first').rule, index: 0 } }));
        await nft.commit(new Transaction().delete({ rule: { ...T, chain: 'c', index: 0 } }));
        await new Promise(resolve => setImmediate(resolve));
      }
    };
    const theirs = async () => {
      for (let i = 0; i < rounds; i++) {
        await other.commit(new Transaction().add(comment(`added ${i}`)));
        await new Promise(resolve => setImmediate(resolve));
      }
    };
    await Promise.all([mine(), theirs()]);
    const comments = nft.sync.rules().map(rule => rule.comment);
    expect(comments).toEqual(['last', ...Array.from({ length: rounds }, (_, i) => `added ${i}`)]);
    await other[Symbol.asyncDispose]();
  });

  test('never read a mixture of two generations', async () => {
    const commits = isLong ? 10_000 : 1000;
    nft.sync.commit(
      new Transaction()
        .add({ table: { family: 'ip', name: 't' } })
        .add({ chain: { ...T, name: 'c' } })
        .add({ chain: { ...T, name: 'd' } }),
    );
    const version = (text: string) => {
      const transaction = new Transaction();
      for (const chain of ['c', 'd']) {
        transaction.flush({ chain: { ...T, name: chain } });
        for (let i = 0; i < 3; i++)
          transaction.add({ rule: { ...T, chain, expressions: [{ counter: {} }], comment: text } });
      }
      return transaction;
    };
    nft.sync.commit(version('0'));
    const writer = Nftables.open({ netns });
    let done = false;
    let reads = 0;
    const writing = (async () => {
      for (let i = 1; i <= commits; i++) {
        await writer.commit(version(String(i)));
        await new Promise(resolve => setImmediate(resolve));
      }
      done = true;
    })();
    while (!done) {
      const { rules } = await nft.ruleset();
      expect(rules).toHaveLength(6);
      expect(new Set(rules.map(rule => rule.comment)).size).toBe(1);
      reads++;
      await new Promise(resolve => setImmediate(resolve));
    }
    await writing;
    expect(reads).toBeGreaterThan(1);
    await writer[Symbol.asyncDispose]();
  });
});

/** The number in a set of one mark, in whichever form it is read. */
function countOf(element: unknown): number {
  if (typeof element === 'number') return element;
  const { key } = element as { key: string };
  return Buffer.from(key, 'hex').readUInt32LE();
}

kernelSuite('beside iptables-nft', () => {
  const iptables = (program: string, ...parameters: string[]) =>
    netns.run(() => execFileSync(program, parameters, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }));

  test.each([
    ['ip', 'iptables-nft', 16, '0a0a0064', '10.10.0.100/32'],
    ['ip6', 'ip6tables-nft', 24, 'fd000000000000000000000000000001', 'fd00::1/128'],
  ] as const)(
    'keeps iptables able to list the table with our rules in it: %s',
    (family, program, offset, data, daddr) => {
      iptables(program, '-t', 'nat', '-A', 'PREROUTING', '-p', 'udp', '-j', 'REDIRECT', '--to-ports', '53');
      iptables(program, '-A', 'FORWARD', '-j', 'ACCEPT');
      const tcp: Expression[] = [
        { meta: { key: 'l4proto', register: 1 } },
        { cmp: { register: 1, op: 'eq', data: '06' } },
        { payload: { base: 'network', offset, length: data.length / 2, register: 1 } },
        { cmp: { register: 1, op: 'eq', data } },
        { payload: { base: 'transport', offset: 2, length: 2, register: 1 } },
        { cmp: { register: 1, op: 'eq', data: '0050' } },
      ];
      const nat = { family, table: 'nat', chain: 'PREROUTING' } as const;
      nft.sync.commit(
        new Transaction()
          .add({ rule: { ...nat, expressions: [...tcp, ...iptablesRedirect({ family, to: 8080 })] } })
          .add({
            rule: { ...nat, expressions: [...tcp, ...iptablesRedirect({ family, to: { from: 8080, to: 8090 } })] },
          })
          .add({ rule: { ...nat, expressions: [...tcp, ...iptablesRedirect({ family })] } })
          .add({
            rule: {
              family,
              table: 'filter',
              chain: 'FORWARD',
              expressions: [...tcp, ...iptablesNflog({ group: 5, prefix: 'web1 ', bytes: 128, threshold: 20 })],
            },
          }),
      );
      const listed = iptables(program, '-t', 'nat', '-S').trim().split('\n');
      const matches = `-A PREROUTING -d ${daddr} -p tcp -m tcp --dport 80 -j REDIRECT`;
      expect(listed.slice(-4)).toEqual([
        '-A PREROUTING -p udp -j REDIRECT --to-ports 53',
        `${matches} --to-ports 8080`,
        `${matches} --to-ports 8080-8090`,
        matches,
      ]);
      expect(iptables(program, '-S').trim().split('\n').at(-1)).toBe(
        `-A FORWARD -d ${daddr} -p tcp -m tcp --dport 80 -j NFLOG --nflog-prefix "web1 " --nflog-group 5 --nflog-size 128 --nflog-threshold 20`,
      );
      // As if iptables had written it: it can take it away again.
      iptables(
        program,
        '-t',
        'nat',
        '-D',
        'PREROUTING',
        '-d',
        daddr,
        '-p',
        'tcp',
        '--dport',
        '80',
        '-j',
        'REDIRECT',
        '--to-ports',
        '8080',
      );
      expect(iptables(program, '-t', 'nat', '-S')).not.toContain('--to-ports 8080\n');
    },
  );

  test('reports errors with their path', () => {
    expect(() => iptablesRedirect({ family: 'inet' as never })).toThrow("family: expected 'ip' or 'ip6'");
    expect(() => iptablesRedirect({ family: 'ip', to: 0 })).toThrow('to: expected');
    expect(() => iptablesRedirect({ family: 'ip', to: { from: 9, to: 8 } })).toThrow(
      'to.to: expected a port that is not below',
    );
    expect(() => iptablesNflog({ group: 65536 })).toThrow('group: expected');
  });
});
