import { beforeAll, describe, expect, test, vi } from 'vitest';
import { type Comparison, compare, compareAll, exported, NEWER, obstacle, problemsOf } from '../../native/abi.ts';

vi.setConfig({ testTimeout: 60_000 });

const reason = obstacle();
if (reason !== undefined) console.error(`the ABI is not compared: ${reason}`);

describe.skipIf(reason !== undefined)(
  `the numbers of the kernel's headers${reason ? ` (skipped: ${reason})` : ''}`,
  () => {
    let all: Comparison;
    beforeAll(async () => {
      all = await compareAll();
      const newer = all.missing.map(({ name, since }) => `${name} (${since})`);
      if (newer.length > 0) console.log(`not in the headers of Linux ${all.kernel}: ${newer.join(', ')}`);
    }, 60_000);

    test('every constant, size and offset is the one of the headers, and every name is in them or in the list of newer ones', () => {
      expect(problemsOf(all)).toEqual([]);
    });

    test('all constants modules and structures take part', async () => {
      const { constants, structs } = await exported();
      const files = new Set(constants.map(({ file }) => file));
      expect([...files]).toEqual(
        expect.arrayContaining([
          'src/ffi/constants.ts',
          'src/ip_vs/constants.ts',
          'src/nf_tables/constants.ts',
          'src/netlink/constants.ts',
        ]),
      );
      expect(structs.map(({ struct }) => struct)).toEqual(
        expect.arrayContaining(['genlmsghdr', 'nfgenmsg', 'ip_vs_flags']),
      );
      const names = new Set(constants.map(({ name }) => name));
      expect(all.compared).toBeGreaterThanOrEqual(names.size - Object.keys(NEWER).length);
    });

    test('a wrong number is found', () => {
      const result = compare([{ file: 'here', name: 'NFTA_RULE_TABLE', value: 2 }], []);
      expect(problemsOf(result)).toEqual([
        expect.stringContaining('here: NFTA_RULE_TABLE is 1 in the headers of Linux'),
      ]);
    });

    test('a misspelt name is found, and does not hide the others', () => {
      const result = compare(
        [
          { file: 'here', name: 'NFTA_RULE_TABEL', value: 1 },
          { file: 'here', name: 'NFTA_RULE_CHAIN', value: 2 },
          { file: 'here', name: 'NFTA_RULE_HANDLE', value: 4 },
        ],
        [],
      );
      expect(result.compared).toBe(2);
      expect(problemsOf(result)).toEqual([
        expect.stringContaining('NFTA_RULE_HANDLE is 3'),
        expect.stringContaining('NFTA_RULE_TABEL is not in the headers'),
      ]);
    });

    test('a name of the list is excused by headers that are older, and by no others', () => {
      const missing = [{ name: 'NFTA_NEW', file: 'here', since: '6.3', reason: 'undeclared' }];
      const result = { compared: 0, differences: [], missing };
      expect(problemsOf({ ...result, kernel: '6.1.170' })).toEqual([]);
      expect(problemsOf({ ...result, kernel: '6.12.1' })).toEqual([
        expect.stringContaining('should be in the headers'),
      ]);
    });

    test('a structure with a wrong offset, a wrong size or a member that is not there is found', () => {
      const members = [
        { name: 'nla_len', offset: 0, size: 4 },
        { name: 'nla_type', offset: 4, size: 2 },
        { name: 'nla_flags', offset: 2, size: 2 },
      ];
      const problems = problemsOf(compare([], [{ file: 'here', struct: 'nlattr', size: 6, members }]));
      expect(problems).toEqual([
        expect.stringContaining('sizeof(struct nlattr) is 4'),
        expect.stringContaining('sizeof(((struct nlattr *)0)->nla_len) is 2'),
        expect.stringContaining('offsetof(struct nlattr, nla_type) is 2'),
        expect.stringContaining('offsetof(struct nlattr, nla_flags) is not in the headers'),
        expect.stringContaining('sizeof(((struct nlattr *)0)->nla_flags) is not in the headers'),
      ]);
    });
  },
);
