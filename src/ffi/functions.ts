import { rangeError } from '../errors.ts';

/** How C takes a value: every backend has a name of its own for each. */
export type CType = 'int' | 'long' | 'unsigned long' | 'size' | 'uint32' | 'bytes' | 'text';

/**
 * The functions of the C library that we call. A backend binds each as it is declared here. `ioctl` and `syscall` are variadic in C; on x64
 * and arm64 Linux integers are passed the same way.
 */
export const FUNCTIONS = {
  socket: { result: 'int', parameters: ['int', 'int', 'int'] },
  bind: { result: 'int', parameters: ['int', 'bytes', 'uint32'] },
  connect: { result: 'int', parameters: ['int', 'bytes', 'uint32'] },
  getsockname: { result: 'int', parameters: ['int', 'bytes', 'bytes'] },
  send: { result: 'long', parameters: ['int', 'bytes', 'size', 'int'] },
  recv: { result: 'long', parameters: ['int', 'bytes', 'size', 'int'] },
  recvfrom: { result: 'long', parameters: ['int', 'bytes', 'size', 'int', 'bytes', 'bytes'] },
  setsockopt: { result: 'int', parameters: ['int', 'int', 'int', 'bytes', 'uint32'] },
  getsockopt: { result: 'int', parameters: ['int', 'int', 'int', 'bytes', 'bytes'] },
  open: { result: 'int', parameters: ['text', 'int'] },
  close: { result: 'int', parameters: ['int'] },
  dup3: { result: 'int', parameters: ['int', 'int', 'int'] },
  ioctl: { result: 'int', parameters: ['int', 'unsigned long', 'bytes'] },
  syscall: { result: 'long', parameters: ['long', 'long', 'long', 'long'] },
  setns: { result: 'int', parameters: ['int', 'int'] },
  unshare: { result: 'int', parameters: ['int'] },
  poll: { result: 'int', parameters: ['bytes', 'unsigned long', 'int'] },
  mount: { result: 'int', parameters: ['text', 'text', 'text', 'unsigned long', 'bytes'] },
  umount2: { result: 'int', parameters: ['text', 'int'] },
} as const satisfies Record<string, Signature>;

export interface Signature {
  readonly result: CType;
  readonly parameters: readonly CType[];
}

export type FunctionName = keyof typeof FUNCTIONS;

interface ValueOf {
  int: number;
  long: number;
  'unsigned long': number;
  size: number;
  uint32: number;
  bytes: ArrayBufferView | null;
  text: string | null;
}

type ValuesOf<P extends readonly CType[]> = { -readonly [I in keyof P]: ValueOf[P[I]] };

/** The functions as a backend binds them; what C calls `long` may come as a bigint. */
export type Bound = {
  readonly [N in FunctionName]: (...values: ValuesOf<(typeof FUNCTIONS)[N]['parameters']>) => number | bigint;
};

/** Binds all of them. */
export function bindAll(bind: (name: FunctionName, signature: Signature) => unknown): Bound {
  const names = Object.keys(FUNCTIONS) as FunctionName[];
  return Object.fromEntries(names.map(name => [name, checked(name, bind(name, FUNCTIONS[name]))])) as unknown as Bound;
}

/** C would take what stands before a NUL for the whole text: a path to something else. */
function checked(name: FunctionName, call: unknown): unknown {
  const parameters: readonly CType[] = FUNCTIONS[name].parameters;
  if (!parameters.includes('text')) return call;
  return (...values: unknown[]) => {
    for (const [i, value] of values.entries())
      if (parameters[i] === 'text' && typeof value === 'string' && value.includes('\0'))
        throw rangeError([name, i], 'a string without NUL', value);
    return (call as (...values: unknown[]) => unknown)(...values);
  };
}
