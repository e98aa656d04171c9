import os from 'node:os';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import {
  atIndex,
  BatchError,
  DecodeError,
  describeErrno,
  formatPath,
  isArgumentError,
  isExists,
  isNotFound,
  isPermission,
  NetlinkError,
  type NetlinkErrorOptions,
  NetNsError,
  printable,
  printableOutput,
  rangeError,
  StateError,
  show,
  typeError,
  UnsupportedError,
  within,
} from '../../src/errors.ts';

const refused = (options: Partial<NetlinkErrorOptions> = {}) =>
  new NetlinkError({ errno: -17, syscall: 'IPVS_CMD_NEW_SERVICE', ...options });

/** What must not be in a message, and some characters of each kind by number. */
const CONTROL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  // biome-ignore lint/suspicious/noMisleadingCharacterClass: each character by itself
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/u;

describe('a path', () => {
  test('is printed as JavaScript would write it', () => {
    expect(formatPath(['expressions', 1, 'cmp', 'register'])).toBe('expressions[1].cmp.register');
    expect(formatPath([0, 'address'])).toBe('[0].address');
    expect(formatPath([])).toBe('');
  });
});

describe('an errno', () => {
  test('has the name that the system gives it', () => {
    for (const [name, number] of Object.entries(os.constants.errno)) {
      const { code } = describeErrno(-number);
      // Of those that netlink never returns some have no name here.
      if (code === `E${number}`) continue;
      // EAGAIN and EWOULDBLOCK, EOPNOTSUPP and ENOTSUP are one number each.
      expect(os.constants.errno[code as keyof typeof os.constants.errno] ?? -number, name).toBe(number);
    }
  });

  test('has a name where Node has none', () => {
    expect(describeErrno(-85).code).toBe('ERESTART');
    expect(describeErrno(-524)).toEqual({ code: 'ENOTSUPP', text: 'operation is not supported' });
    expect(describeErrno(-93).code).toBe('EPROTONOSUPPORT');
  });

  test('is named by its number where it is unknown', () => {
    expect(describeErrno(-999)).toEqual({ code: 'E999', text: 'unknown error' });
  });
});

describe('a NetlinkError', () => {
  test('says what was refused, where, and the reason of the kernel', () => {
    const error = refused({
      operation: 'ipvs.addService',
      subject: { port: 80 },
      path: ['services', 0, 'port'],
      kernelMessage: 'Port is taken',
      hint: 'use another one',
    });
    expect(error.message).toBe(
      'EEXIST: file already exists, ipvs.addService (services[0].port): Port is taken: use another one',
    );
    expect(error).toMatchObject({
      name: 'NetlinkError',
      code: 'EEXIST',
      errno: -17,
      syscall: 'IPVS_CMD_NEW_SERVICE',
      operation: 'ipvs.addService',
      subject: { port: 80 },
      path: ['services', 0, 'port'],
      attribute: 'services[0].port',
      kernelMessage: 'Port is taken',
      hint: 'use another one',
    });
  });

  test('names the message where no operation is known, and leaves out what is unknown', () => {
    const error = refused();
    expect(error.message).toBe('EEXIST: file already exists, IPVS_CMD_NEW_SERVICE');
    expect(error.path).toEqual([]);
    expect(error.attribute).toBeUndefined();
    expect(error.cause).toBeUndefined();
    expect('cause' in error).toBe(false);
  });

  test('keeps its cause', () => {
    const cause = new Error('before');
    expect(refused({ cause }).cause).toBe(cause);
  });

  test('keeps the bytes that were sent, and prints them nowhere', () => {
    const request = new TextEncoder().encode('secret-prefix');
    const error = refused({ request, subject: { port: 80 } });
    expect(error.request).toBe(request);
    expect(Object.keys(error)).not.toContain('request');
    const batch = new BatchError({ failures: [atIndex(error, 0)], outcome: 'none', applied: [] });
    for (const text of [JSON.stringify(error), inspect(error, { depth: 9 }), inspect(batch, { depth: 9 })]) {
      expect(text).not.toContain('request');
      expect(text).not.toContain('115, 101, 99');
      expect(text).not.toContain('73 65 63');
    }
    expect(JSON.parse(JSON.stringify(error))).toMatchObject({ code: 'EEXIST', errno: -17, subject: { port: 80 } });
  });

  test('escapes texts of a container that would control a terminal', () => {
    expect(refused({ kernelMessage: 'a\u001b[2Jb\nc\u009bd\u2028' }).message).toMatch(
      /a\\x1b\[2Jb\\x0ac\\x9bd\\u2028$/,
    );
  });
});

describe('a BatchError', () => {
  const one = atIndex(refused({ operation: 'nftables.commit' }), 3);
  const two = atIndex(refused({ errno: -2, operation: 'nftables.commit' }), 5);

  test('has the code of its failure where there is one', () => {
    const batch = new BatchError({ failures: [one], outcome: 'none', applied: [] });
    expect(batch).toMatchObject({ name: 'BatchError', code: 'EEXIST', outcome: 'none', applied: [] });
    expect(batch.message).toBe('1 failed, applied: none. [3] EEXIST: file already exists, nftables.commit');
  });

  test('is an AggregateError with ERR_BATCH and each index where there are several', () => {
    const batch = new BatchError({ failures: [one, two], outcome: 'partial', applied: [0, 1, 2, 4] });
    expect(batch).toBeInstanceOf(AggregateError);
    expect(batch.code).toBe('ERR_BATCH');
    expect(batch.errors).toEqual([one, two]);
    expect(batch.failures.map(({ index, code }) => [index, code])).toEqual([
      [3, 'EEXIST'],
      [5, 'ENOENT'],
    ]);
    expect(batch.applied).toEqual([0, 1, 2, 4]);
    expect(batch.message).toMatch(/^2 failed, applied: partial\. \[3\] EEXIST.* \(and 1 more\)$/);
  });
});

describe('the predicates of an error', () => {
  const batchOf = (...codes: number[]) =>
    new BatchError({
      failures: codes.map((errno, i) => atIndex(refused({ errno }), i)),
      outcome: 'none',
      applied: [],
    });
  const questions = { isNotFound, isExists, isPermission };
  const answers = { isNotFound: [-2, -3, -19], isExists: [-17], isPermission: [-1, -13] };

  test.each(Object.keys(questions) as (keyof typeof questions)[])('are true for exactly its errnos: %s', name => {
    const ask = questions[name];
    const yes = answers[name];
    for (const errno of [...Object.values(answers).flat(), -22, -11]) {
      expect(ask(refused({ errno })), `errno ${errno}`).toBe(yes.includes(errno));
      expect(ask(batchOf(errno)), `errno ${errno} in a batch`).toBe(yes.includes(errno));
    }
    expect(ask(batchOf(yes[0]!, yes[0]!))).toBe(false);
    expect(ask(new NetNsError('x', { errno: yes[0]! }))).toBe(true);
    for (const other of [undefined, null, 'ENOENT', -2, new Error('ENOENT')]) expect(ask(other)).toBe(false);
  });
});

describe('the other error classes', () => {
  test('begin with ERR_NOT_A_NETNS and end with the hint of a NetNsError', () => {
    const error = new NetNsError('process 7', { errno: -3, syscall: 'pidfd_open', hint: 'look again' });
    expect(error.message).toBe('ESRCH: process 7 (no such process): look again');
    expect(error).toMatchObject({ code: 'ESRCH', errno: -3, syscall: 'pidfd_open', hint: 'look again' });
    expect(new NetNsError('x', { code: 'ERR_NOT_A_NETNS' }).message).toBe('ERR_NOT_A_NETNS: x');
  });

  test('name the kernel that has the feature with ERR_UNSUPPORTED of an UnsupportedError', () => {
    const error = new UnsupportedError('GRE tunnels', '5.3', 'use GUE');
    expect(error.message).toBe('this kernel does not support GRE tunnels (Linux 5.3 has it): use GUE');
    expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED', feature: 'GRE tunnels', minimumKernel: '5.3' });
    expect(new UnsupportedError('x').message).toBe('this kernel does not support x');
  });

  test('begin with ERR_FFI of a StateError and the code of a DecodeError', () => {
    const cause = new Error('before');
    const state = new StateError('ERR_FFI', 'no koffi', cause);
    expect(state).toMatchObject({ code: 'ERR_FFI', message: 'ERR_FFI: no koffi', cause });
    expect(new DecodeError('too short').message).toBe('ERR_MALFORMED: too short');
  });
});

describe('two copies of the package in one process', () => {
  const make = (copy: typeof import('../../src/errors.ts')) => ({
    NetlinkError: new copy.NetlinkError({ errno: -2, syscall: 'x' }),
    BatchError: new copy.BatchError({
      failures: [copy.atIndex(new copy.NetlinkError({ errno: -2, syscall: 'x' }), 0)],
      outcome: 'none',
      applied: [],
    }),
    NetNsError: new copy.NetNsError('x', { errno: -3 }),
    UnsupportedError: new copy.UnsupportedError('x'),
    DecodeError: new copy.DecodeError('x'),
    StateError: new copy.StateError('ERR_BUSY', 'x'),
  });

  test('recognise the errors of each other by instanceof, within the same class', async () => {
    const mine = { NetlinkError, BatchError, NetNsError, UnsupportedError, DecodeError, StateError };
    vi.resetModules();
    const copy = await import('../../src/errors.ts');
    expect(copy.NetlinkError).not.toBe(NetlinkError);
    for (const [name, error] of Object.entries(make(copy))) {
      for (const [className, Class] of Object.entries(mine)) {
        expect(error instanceof Class, `${name} instanceof ${className}`).toBe(name === className);
      }
      expect(error).toBeInstanceOf(Error);
    }
    for (const Class of Object.values(mine)) {
      for (const other of [undefined, null, {}, new Error('x'), 'x']) expect(other instanceof Class).toBe(false);
    }
  });

  test('answer predicates and paths for the errors of the other', async () => {
    vi.resetModules();
    const copy = await import('../../src/errors.ts');
    expect(isNotFound(make(copy).BatchError)).toBe(true);
    const error = copy.typeError(['port'], 'a number', 'x');
    expect(isArgumentError(error)).toBe(true);
    expect(within(error, ['services', 0])).toMatchObject({ attribute: 'services[0].port' });
  });
});

describe('an error of an argument', () => {
  test('says the place, the expected and the actual value, with ERR_INVALID_ARG_TYPE, ERR_TOO_LONG or ERR_OUT_OF_RANGE', () => {
    const error = typeError(['tunnel', 'port'], 'a number', 'eighty');
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe('tunnel.port: expected a number, got "eighty"');
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', path: ['tunnel', 'port'], attribute: 'tunnel.port' });
    expect(error.value).toBe('eighty');
    const range = rangeError([], 'a port', 70000, 'ERR_TOO_LONG');
    expect(range).toBeInstanceOf(RangeError);
    expect(range.message).toBe('argument: expected a port, got 70000');
    expect(range.code).toBe('ERR_TOO_LONG');
    expect(rangeError([], 'a port', 70000).code).toBe('ERR_OUT_OF_RANGE');
  });

  test('does not print the value', () => {
    const error = typeError([], 'a string', { password: 'hunter2' });
    expect(`${error.message} ${inspect(error)} ${JSON.stringify(error)}`).not.toContain('hunter2');
  });

  test('has a longer path in the surrounding object, and is otherwise unchanged, with ERR_OUT_OF_RANGE', () => {
    const inner = rangeError(['port'], 'a port', 70000);
    const outer = within(within(inner, ['services', 1]), ['host']);
    expect(outer).toBeInstanceOf(RangeError);
    expect(outer).toMatchObject({
      message: 'host.services[1].port: expected a port, got 70000',
      path: ['host', 'services', 1, 'port'],
      code: 'ERR_OUT_OF_RANGE',
      value: 70000,
    });
    expect(within(typeError(['a'], 'b', 'c'), [])).toBeInstanceOf(TypeError);
  });

  test('has a longer path only where it is of this library', () => {
    const foreign = new TypeError('port: expected something');
    expect(within(foreign, ['services'])).toBe(foreign);
    expect(isArgumentError(foreign)).toBe(false);
    expect(within('text', ['services'])).toBe('text');
  });
});

describe('a value in a message', () => {
  test('is described in a few characters', () => {
    expect(show('x'.repeat(100))).toBe(`"${'x'.repeat(57)}..."`);
    expect(show(12n)).toBe('12n');
    expect(show([1, 2, 3])).toBe('an array of 3');
    expect(show(new Uint8Array(5))).toBe('5 bytes');
    expect(show({ a: 1 })).toBe('{ a }');
    expect(show({ a: 1, b: 2, c: 3, d: 4, e: 5 })).toBe('{ a, b, c, d, ... }');
    expect(show({})).toBe('{}');
    expect(show(new Map())).toBe('a Map');
    expect(show(Promise.resolve())).toBe('a promise (await it)');
    expect(show(() => 1)).toBe('a function');
    expect(show(parseInt)).toBe('the function parseInt');
    expect(show(undefined)).toBe('undefined');
    expect(show(null)).toBe('null');
    expect(show(Symbol('x'))).toBe('Symbol(x)');
  });

  test('never has a control character', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.anything()), value => {
        expect(show(value)).not.toMatch(CONTROL);
      }),
    );
    expect(show('\u009b31m\u2028')).not.toMatch(CONTROL);
  });

  test('has no control character in a path that a caller invented', () => {
    expect(typeError(['a\nb\u009b'], 'no such field', 1).message).not.toMatch(CONTROL);
    expect((within(typeError(['a\nb'], 'x', 1), ['c\u001b']) as Error).message).not.toMatch(CONTROL);
  });

  test('is escaped at every place in the message of a bad argument', () => {
    const owned = 'mh\u001b]0;owned\u0007';
    for (const make of [typeError, rangeError]) {
      const { message } = make([owned, 0], `a flag of ${owned}`, owned);
      expect(message).not.toMatch(CONTROL);
      expect(message.match(/\\x1b|\\u001b/g)).toHaveLength(3);
    }
  });

  test('is unchanged where it is printable', () => {
    expect(printable('Straße 東京 \u{1f600}')).toBe('Straße 東京 \u{1f600}');
  });

  test('is written by number where it would change the direction of text or be invisible', () => {
    expect(printable('a\u202egnp.exe')).toBe('a\\u202egnp.exe');
    expect(printable('\u2066a\u2069\u200b\ufeff\u00ad')).toBe('\\u2066a\\u2069\\u200b\\ufeff\\xad');
    expect(printable('x\u{e0041}')).toBe('x\\u{e0041}');
    for (let code = 0; code < 0x110000; code++) {
      const character = String.fromCodePoint(code);
      if (CONTROL.test(character)) expect(printable(character)).toMatch(/^\\(x..|u....|u\{.*\})$/);
    }
  });

  test('is unescaped in JSON, and keeps its colours when inspected', () => {
    const value = { name: 'a\u202e\u009b\u{e0041}\n' };
    const json = printableOutput(JSON.stringify(value, undefined, 2));
    expect(json).toBe('{\n  "name": "a\\u202e\\u009b\\udb40\\udc41\\n"\n}');
    expect(JSON.parse(json)).toEqual(value);
    expect(printableOutput(inspect('\u202e', { colors: true }))).toBe("\u001b[32m'\\u202e'\u001b[39m");
  });
});
