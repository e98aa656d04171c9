import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FUNCTIONS } from '../../src/ffi/functions.ts';

/** Debian's package `musl`, which `npm test` installs. */
const MUSL = '/lib/ld-musl-x86_64.so.1';
/** Comes with gcc. */
const NM = '/usr/bin/nm';
const KOFFI = 'node_modules/@koromix/koffi-linux-x64/musl_x64/koffi.node';

/** Whether a name stands in a library's table of names. */
const names = (library: Buffer, name: string): boolean => library.includes(`\0${name}\0`);

describe.skipIf(process.arch !== 'x64')('a C library that is musl', () => {
  it('has a binary in the package of koffi', () => {
    const koffi = fs.readFileSync(KOFFI);
    expect(koffi.subarray(0, 4).toString('latin1')).toBe('\x7fELF');
    expect(names(koffi, 'libc.musl-x86_64.so.1')).toBe(true);
    expect(names(koffi, 'libc.so.6')).toBe(false);
  });

  it.skipIf(![MUSL, NM].every(file => fs.existsSync(file)))('has every function that the library calls', () => {
    const lines = execFileSync(NM, ['--dynamic', '--defined-only', MUSL], { encoding: 'utf8' }).split('\n');
    const exported = new Set(lines.map(line => line.split(' ').at(-1)));
    const called = [...Object.keys(FUNCTIONS), '__errno_location'];
    expect(called.filter(name => !exported.has(name))).toEqual([]);
    expect(exported.has('gnu_get_libc_version')).toBe(false);
  });
});
