import type { Expression } from 'netsteer/nftables';

/*
 * Runs a rule's expressions on packets that are made up, as the kernel does, so that two rules can be compared by what they do. It knows the
 * expressions that load, calculate, compare and write, and nothing of the library's own tables.
 */

interface Element {
  readonly key?: unknown;
  readonly keyEnd?: unknown;
  readonly data?: unknown;
  readonly flags?: readonly unknown[] | undefined;
}
export interface MachineSet {
  readonly flags?: readonly unknown[] | undefined;
  readonly elements?: readonly Element[] | undefined;
}

type Fields = Record<string, unknown>;

const REGISTER_BYTES = 80;
const startOf = (register: number): number => (register <= 4 ? (register - 1) * 16 : (register - 8) * 4);
const padded = (length: number): number => Math.ceil(length / 4) * 4;

/** What the rule writes and decides; `load` gives the bytes of each thing that is loaded. */
export function runRule(
  expressions: readonly Expression[],
  load: (what: string, length: number | undefined) => Buffer,
  setOf: (name: string) => MachineSet | undefined,
): string {
  const memory = Buffer.alloc(REGISTER_BYTES);
  const done: string[] = [];
  const write = (register: number, bytes: Buffer) => {
    memory.fill(0, startOf(register), startOf(register) + padded(bytes.length));
    bytes.copy(memory, startOf(register));
  };
  const read = (register: number, length: number) =>
    Buffer.from(memory.subarray(startOf(register), startOf(register) + length));
  for (const expression of expressions) {
    const [name, content] = Object.entries(expression)[0] as [string, Fields];
    const { register, sourceRegister } = content as { register?: number; sourceRegister?: number };
    switch (name) {
      case 'immediate':
        if (register === 0) return [...done, JSON.stringify(content.data)].join();
        write(register!, Buffer.from(content.data as string, 'hex'));
        break;
      case 'payload':
      case 'meta':
      case 'ct': {
        const { register: _, sourceRegister: __, ...what } = content;
        const key = JSON.stringify([name, what.base, what.offset, what.key, what.direction]);
        if (register !== undefined) write(register, load(key, what.length as number | undefined));
        else done.push(`${key}=${read(sourceRegister!, (what.length as number | undefined) ?? 4).toString('hex')}`);
        break;
      }
      case 'bitwise':
        write(register!, calculated(content, read));
        break;
      case 'byteorder': {
        const size = content.size as number;
        const bytes = read(sourceRegister!, content.length as number);
        for (let at = 0; at + size <= bytes.length; at += size) bytes.subarray(at, at + size).reverse();
        write(register!, bytes);
        break;
      }
      case 'cmp': {
        const data = Buffer.from(content.data as string, 'hex');
        if (!compares(content.op as string, Buffer.compare(read(register!, data.length), data))) return 'break';
        break;
      }
      case 'range': {
        const [from, to] = [content.from, content.to].map(each => Buffer.from(each as string, 'hex')) as [
          Buffer,
          Buffer,
        ];
        const bytes = read(register!, from.length);
        const inside = Buffer.compare(bytes, from) >= 0 && Buffer.compare(bytes, to) <= 0;
        if (inside !== (content.op === 'eq')) return 'break';
        break;
      }
      case 'lookup': {
        const found = look(setOf(content.set as string), length => read(sourceRegister!, length));
        const inverted = (content.flags as unknown[] | undefined)?.includes('invert') ?? false;
        if ((found !== undefined) === inverted) return 'break';
        if (register === undefined) break;
        if (typeof found!.data !== 'string') return [...done, JSON.stringify(found!.data)].join();
        write(register, Buffer.from(found!.data, 'hex'));
        break;
      }
      default:
        throw new Error(`the machine knows no ${name}`);
    }
  }
  return [...done, 'next'].join();
}

function compares(op: string, sign: number): boolean {
  if (op === 'eq') return sign === 0;
  if (op === 'neq') return sign !== 0;
  if (op === 'lt') return sign < 0;
  if (op === 'lte') return sign <= 0;
  return op === 'gt' ? sign > 0 : sign >= 0;
}

/** Masks byte by byte; shifts words of the machine from the last one to the first. */
function calculated(content: Fields, read: (register: number, length: number) => Buffer): Buffer {
  const length = content.length as number;
  const source = read(content.sourceRegister as number, padded(length));
  const result = Buffer.alloc(length);
  const op = content.op ?? 'mask-xor';
  if (op === 'mask-xor') {
    const mask = Buffer.from(content.mask as string, 'hex');
    const xor = Buffer.from(content.xor as string, 'hex');
    for (let i = 0; i < length; i++) result[i] = (source[i]! & mask[i]!) ^ xor[i]!;
    return result;
  }
  if (op === 'shift-left' || op === 'shift-right') {
    if (length > 4) throw new Error('the machine shifts one word');
    const by = Buffer.from(content.data as string, 'hex').readUInt32LE();
    const word = BigInt(source.readUInt32LE());
    const shifted = op === 'shift-left' ? (word << BigInt(by)) & 0xffffffffn : word >> BigInt(by);
    const whole = Buffer.alloc(4);
    whole.writeUInt32LE(Number(shifted));
    return whole;
  }
  const second = read(content.secondSourceRegister as number, padded(length));
  for (let i = 0; i < length; i++) {
    const [a, b] = [source[i]!, second[i]!];
    result[i] = op === 'and' ? a & b : op === 'or' ? a | b : a ^ b;
  }
  return result;
}

function look(set: MachineSet | undefined, read: (length: number) => Buffer): Element | undefined {
  const elements = set?.elements ?? [];
  const keys = elements.map(element => ({ element, key: Buffer.from(String(element.key), 'hex') }));
  const bytes = read(keys[0]?.key.length ?? 0);
  if (!set?.flags?.includes('interval')) return keys.find(({ key }) => key.equals(bytes))?.element;
  const below = keys.filter(({ key }) => Buffer.compare(key, bytes) <= 0);
  below.sort((a, b) => Buffer.compare(b.key, a.key));
  const nearest = below[0]?.element;
  return nearest?.flags?.includes('interval-end') ? undefined : nearest;
}
