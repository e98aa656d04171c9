import { beforeAll, describe, expect, test } from 'vitest';
import { differences, type Generated, generate } from '../../native/linux/generate.ts';
import { compareConstants, compareLayouts, constants, layouts } from '../../native/linux/layouts.ts';
import { NAMES } from '../../native/linux/names.ts';
import { NEWER } from '../../native/linux/newer.ts';
import { compareVersions, newestHere } from '../../native/linux/newer-headers.ts';
import { ask, obstacle } from '../../native/linux/probe.ts';

const reason = obstacle();
if (reason !== undefined) console.error(`the ABI is not compared: ${reason}`);

describe.skipIf(reason !== undefined)(`src/linux${reason ? ` (skipped: ${reason})` : ''}`, () => {
  let generated: Generated;
  beforeAll(() => {
    generated = generate(newestHere());
    const { kernel, unchecked } = generated;
    if (unchecked.length > 0) console.log(`newer than the headers of Linux ${kernel}: ${unchecked.join(', ')}`);
  });

  test('equals what the generator makes of the kernel headers, byte by byte', () => {
    expect(differences(generated), 'npm run constants writes these files').toEqual([]);
  });

  test('has one file for each header, and a constant for each name', () => {
    expect(generated.files.size).toBe(Object.keys(NAMES).length);
    const text = [...generated.files.values()].join('');
    expect(text.match(/^export const \w+ = (-?\d+|0x[0-9a-f]+);$/gm)).toHaveLength(generated.count);
    expect(generated.count).toBeGreaterThan(1300);
  });

  test('takes from newer.ts only names that the headers of this machine lack', () => {
    for (const name of generated.unchecked)
      expect(compareVersions(NEWER[name]!.since, generated.kernel), name).toBeGreaterThan(0);
  });

  test('is compared by a check that finds an edited, a missing and an additional file', () => {
    const files = new Map(generated.files);
    files.set('netlink.ts', `${files.get('netlink.ts')}export const NLM_F_MINE = 1;\n`);
    files.set('new.ts', '');
    files.delete('veth.ts');
    expect(differences({ ...generated, files })).toEqual(['netlink.ts', 'new.ts', 'veth.ts']);
  });
});

describe.skipIf(reason !== undefined)(`C${reason ? ` (skipped: ${reason})` : ''}`, () => {
  test('rejects a misspelt name, and returns the values of the others', () => {
    const { kernel, values } = ask(['NFTA_RULE_TABLE', 'NFTA_RULE_TABEL', 'NFTA_RULE_CHAIN']);
    expect(kernel).toMatch(/^\d+\.\d+\.\d+$/);
    expect(values).toEqual([{ value: '1' }, { missing: expect.stringContaining('NFTA_RULE_TABEL') }, { value: '2' }]);
  });

  test('has every structure of the sources, with the same sizes and offsets', async () => {
    const list = await layouts();
    expect(list.map(({ struct }) => struct)).toEqual(
      expect.arrayContaining(['genlmsghdr', 'nfgenmsg', 'ip_vs_flags', 'nlmsghdr', 'ifinfomsg']),
    );
    const { compared, problems } = compareLayouts(list);
    expect(problems).toEqual([]);
    expect(compared).toBeGreaterThan(list.length);
  });

  test('finds a structure with a wrong offset, a wrong size or a member that is not there', () => {
    const members = [
      { name: 'nla_len', offset: 0, size: 4 },
      { name: 'nla_type', offset: 4, size: 2 },
      { name: 'nla_flags', offset: 2, size: 2 },
    ];
    const { problems } = compareLayouts([{ file: 'here', struct: 'nlattr', size: 6, members }]);
    expect(problems).toEqual([
      expect.stringContaining('sizeof(struct nlattr) is 4'),
      expect.stringContaining('sizeof(((struct nlattr *)0)->nla_len) is 2'),
      expect.stringContaining('offsetof(struct nlattr, nla_type) is 2'),
      expect.stringContaining('offsetof(struct nlattr, nla_flags) is not in the headers'),
      expect.stringContaining('sizeof(((struct nlattr *)0)->nla_flags) is not in the headers'),
    ]);
  });

  test('has no constant that a source file repeats, except errnos, which are equal', () => {
    const { compared, problems } = compareConstants(constants());
    expect(problems).toEqual([]);
    expect(compared).toBeGreaterThan(0);
  });

  test('is searched by a check that finds a constant of C outside src/linux and a wrong errno', () => {
    const { problems } = compareConstants([
      { file: 'here', name: 'NLM_F_ACK', value: 4 },
      { file: 'here', name: 'NOT_OF_C', value: 4 },
      { file: 'here', name: 'EIO', value: -5 },
      { file: 'here', name: 'EBUSY', value: -17 },
    ]);
    expect(problems).toEqual([
      expect.stringContaining('here: NLM_F_ACK is a constant of C'),
      expect.stringContaining('here: EBUSY is 16 in C'),
    ]);
  });
});
