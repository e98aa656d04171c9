import fs from 'node:fs';
import path from 'node:path';
import { NAMES } from './names.ts';
import { NEWER, NOTES } from './newer.ts';
import { compareVersions, type Headers } from './newer-headers.ts';
import { ask } from './probe.ts';

/** npm and vitest run in the root of the repository. */
export const TARGET = path.resolve('src/linux');

/** Headers older than these lack names that nothing here knows the kernel of. */
const OLDEST = '6.1';

export interface Generated {
  /** Of linux-libc-dev: '6.1.170'. */
  kernel: string;
  /** The text of each file of src/linux, by its name. */
  files: Map<string, string>;
  /** How many constants there are. */
  count: number;
  /** Names that no headers on this machine have: their values are those that src/linux already had. */
  unchecked: string[];
}

/**
 * Makes the files of src/linux from the headers of this machine. The text does not depend on which headers these are.
 *
 * @param newer headers that are asked for the names which the installed ones lack
 * @throws Error that lists each name which is in no header and not in the list of newer names, and each value of that list which is wrong
 */
export function generate(newer?: Headers): Generated {
  const groups = Object.entries(NAMES).map(([header, text]) => ({ header, groups: groupsOf(text) }));
  const names = groups.flatMap(file => file.groups.flatMap(group => group.names));
  const values = new Map<string, number>();
  const { kernel } = take(names, values);
  const problems: string[] = [];
  if (compareVersions(kernel, OLDEST) < 0)
    problems.push(`the headers are those of Linux ${kernel}: ${OLDEST} is needed`);
  const lacking = names.filter(name => !values.has(name));
  if (newer !== undefined) take(lacking, values, newer.uapi);
  const newest = newer !== undefined && compareVersions(newer.kernel, kernel) > 0 ? newer.kernel : kernel;
  const unchecked: string[] = [];
  for (const name of names) {
    const listed = NEWER[name];
    const value = values.get(name);
    if (listed === undefined) {
      if (value === undefined) problems.push(`${name} is not in the headers of Linux ${newest}, and not in newer.ts`);
    } else if (value === undefined) {
      if (compareVersions(newest, listed.since) >= 0)
        problems.push(
          `${name} is not in the headers of Linux ${newest}, and newer.ts says that ${listed.since} brought it`,
        );
      const known = listed.value ?? committed(name);
      if (known === undefined) problems.push(`${name}: newer headers than those of Linux ${newest} are needed`);
      else values.set(name, known);
      if (listed.value === undefined) unchecked.push(name);
    } else if (listed.value !== undefined && listed.value !== value) {
      problems.push(`${name} is ${value} in the headers of Linux ${newest}, and ${listed.value} in newer.ts`);
    }
  }
  for (const name of repeated(names)) problems.push(`${name} is listed twice`);
  for (const name of [...Object.keys(NEWER), ...Object.keys(NOTES)])
    if (!names.includes(name)) problems.push(`${name} of newer.ts is not in names.ts`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const files = new Map(groups.map(file => [fileOf(file.header), textOf(file.header, file.groups, values)] as const));
  return { kernel, files, count: names.length, unchecked };
}

interface Group {
  names: string[];
  hexadecimal: boolean;
}

function groupsOf(text: string): Group[] {
  return text.split(/\n\s*\n/).map(paragraph => {
    const words = paragraph.trim().split(/\s+/);
    const hexadecimal = words[0] === '0x';
    return { names: hexadecimal ? words.slice(1) : words, hexadecimal };
  });
}

function take(names: readonly string[], values: Map<string, number>, uapi?: string): { kernel: string } {
  const answer = ask(names, uapi);
  for (const [i, name] of names.entries()) {
    const found = answer.values[i]!;
    if ('value' in found) values.set(name, Number(found.value));
  }
  return answer;
}

/** 'linux/netfilter/nf_tables.h' is nf_tables.ts; the C library's 'sys/socket.h' is socket.ts. */
export function fileOf(header: string): string {
  return `${path.basename(header, '.h')}.ts`;
}

function textOf(header: string, groups: readonly Group[], values: ReadonlyMap<string, number>): string {
  const paragraphs = groups.map(({ names, hexadecimal }) =>
    names.map(name => `${remark(name)}export const ${name} = ${format(values.get(name)!, hexadecimal)};\n`).join(''),
  );
  const origin = header.startsWith('linux/') ? `include/uapi/${header}` : `${header} of the C library`;
  const title = `/* ${origin}. Generated from the headers of Linux ${OLDEST} and newer by \`npm run constants\`: do not edit. */\n`;
  return title + paragraphs.join('\n');
}

function remark(name: string): string {
  const since = NEWER[name]?.since;
  const parts = [NOTES[name], since && `Linux ${since}.`].filter(Boolean);
  return parts.length > 0 ? `/** ${parts.join(' ')} */\n` : '';
}

function format(value: number, hexadecimal: boolean): string {
  return hexadecimal && value >= 0 ? `0x${value.toString(16)}` : String(value);
}

function committed(name: string): number | undefined {
  const header = Object.keys(NAMES).find(key => groupsOf(NAMES[key]!).some(group => group.names.includes(name)));
  const file = path.join(TARGET, fileOf(header!));
  if (!fs.existsSync(file)) return undefined;
  const line = new RegExp(`^export const ${name} = (.+);$`, 'm').exec(fs.readFileSync(file, 'utf8'));
  return line === null ? undefined : Number(line[1]);
}

function repeated(names: readonly string[]): string[] {
  return names.filter((name, i) => names.indexOf(name) !== i);
}

/** How src/linux differs from what was generated: the files that are missing, too many, or other than they should be. */
export function differences({ files }: Generated): string[] {
  const there = fs.existsSync(TARGET) ? fs.readdirSync(TARGET) : [];
  const wrong = [...files].filter(([file, text]) => !there.includes(file) || read(file) !== text).map(([file]) => file);
  return [...wrong, ...there.filter(file => !files.has(file))];
}

function read(file: string): string {
  return fs.readFileSync(path.join(TARGET, file), 'utf8');
}
