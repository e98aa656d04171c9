import { readFileSync } from 'node:fs';
import type { NameFile } from './data/datatypes.ts';
import { IP_PROTOCOL } from './data/symbols.ts';

/**
 * The folders in which nft looks for the names of numbers, in this order. Distributions build nft with /etc as its configuration folder.
 */
const PLACES: Record<NameFile, readonly string[]> = {
  rt_marks: ['/etc/iproute2/rt_marks', '/usr/share/iproute2/rt_marks'],
  rt_realms: ['/etc/iproute2/rt_realms', '/usr/share/iproute2/rt_realms'],
  group: ['/etc/iproute2/group', '/usr/share/iproute2/group'],
  'connlabel.conf': ['/etc/connlabel.conf'],
};

/** The names and numbers of one file, in both directions. */
export interface NameTable {
  /** Numbers by name. */
  readonly byName: ReadonlyMap<string, number>;
  /** A number with several names is printed by the first one. */
  readonly byNumber: ReadonlyMap<number, string>;
}

/** The source of `Names`. */
export interface NamesOptions {
  /** Returns the text of a file, or undefined where there is none. Default: reads the files of this system. */
  readFile?: (path: string) => string | undefined;
}

/**
 * The names of numbers in the files that nft reads: /etc/protocols, /etc/services, /etc/passwd, /etc/group, iproute2's marks, realms and
 * device groups, and connlabel.conf. Each file is read at the first question for one of its names, once for each `Names`.
 * @example
 * const names = new Names({ readFile: path => (path === '/etc/services' ? 'web 8080/tcp' : undefined) });
 * names.services().byName.get('web'); // 8080
 */
export class Names {
  readonly #read: (path: string) => string | undefined;
  readonly #tables = new Map<string, NameTable>();

  constructor(options: NamesOptions = {}) {
    this.#read = options.readFile ?? readIfThere;
  }

  /**
   * Returns the names of one of iproute2's files, or of connection labels.
   * @param name 'rt_marks', 'rt_realms', 'group' (of devices) or 'connlabel.conf'
   * @example
   * new Names().file('rt_marks').byNumber.get(1);
   */
  file(name: NameFile): NameTable {
    return this.#table(name, () => {
      for (const path of PLACES[name]) {
        const text = this.#read(path);
        if (text !== undefined) return numberFirst(text);
      }
      return tableOf([]);
    });
  }

  /**
   * Returns the IP protocols, with their aliases. Without /etc/protocols these are the most usual ones.
   * @example
   * new Names().protocols().byName.get('tcp'); // 6
   */
  protocols(): NameTable {
    return this.#table('protocols', () => {
      const text = this.#read('/etc/protocols');
      return tableOf(text === undefined ? Object.entries(IP_PROTOCOL) : nameFirst(text));
    });
  }

  /**
   * Returns ports by the names of services.
   * @param protocol 'tcp', 'udp' ...: only its services; default: those of all transport protocols
   * @example
   * new Names().services().byNumber.get(22); // 'ssh'
   */
  services(protocol?: string): NameTable {
    return this.#table(protocol === undefined ? 'services' : `services/${protocol}`, () =>
      tableOf(nameFirst(this.#read('/etc/services') ?? '', protocol)),
    );
  }

  /**
   * Returns the users of this system by their names.
   * @example
   * new Names().users().byName.get('root'); // 0
   */
  users(): NameTable {
    return this.#table('users', () => tableOf(colonSeparated(this.#read('/etc/passwd') ?? '')));
  }

  /**
   * Returns the groups of this system by their names.
   * @example
   * new Names().groups().byName.get('root'); // 0
   */
  groups(): NameTable {
    return this.#table('groups', () => tableOf(colonSeparated(this.#read('/etc/group') ?? '')));
  }

  #table(key: string, make: () => NameTable): NameTable {
    let table = this.#tables.get(key);
    if (table === undefined) {
      table = make();
      this.#tables.set(key, table);
    }
    return table;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function tableOf(entries: Iterable<readonly [string, number]>): NameTable {
  const byName = new Map<string, number>();
  const byNumber = new Map<number, string>();
  for (const [name, number] of entries) {
    if (!byName.has(name)) byName.set(name, number);
    if (!byNumber.has(number)) byNumber.set(number, name);
  }
  return { byName, byNumber };
}

function* lines(text: string): Generator<string> {
  for (const line of text.split('\n')) {
    const content = line.replace(/#.*/, '').trim();
    if (content !== '') yield content;
  }
}

/** The format of iproute2's files: '0x10 name', '1 name'. nft stops at the first line with another format. */
function numberFirst(text: string): NameTable {
  const entries: [string, number][] = [];
  for (const line of lines(text)) {
    const found = /^(0x[0-9a-f]+|\d+)\s+(\S+)/i.exec(line);
    if (found === null) break;
    entries.push([found[2]!, Number(found[1])]);
  }
  return tableOf(entries);
}

/** The format of /etc/protocols and /etc/services: 'tcp 6 TCP', 'http 80/tcp www'. */
/** Lines such as `ssh 22/tcp` and `tcp 6 TCP`. */
function* nameFirst(text: string, protocol?: string): Generator<[string, number]> {
  for (const line of lines(text)) {
    const [name, number, ...aliases] = line.split(/\s+/);
    const value = Number.parseInt(number ?? '', 10);
    if (!Number.isInteger(value) || (protocol !== undefined && !number!.endsWith(`/${protocol}`))) continue;
    yield [name!, value];
    for (const alias of aliases) yield [alias, value];
  }
}

function* colonSeparated(text: string): Generator<[string, number]> {
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':');
    if (id !== undefined && /^\d+$/.test(id)) yield [name!, Number(id)];
  }
}
