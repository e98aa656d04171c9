/* Objects with a name. */

/**
 * By the words of nft's JSON and text: the kernel's type, and the name in transactions. `sets` are the words of the statement that gives
 * the object to a packet or a connection; the others are `counter name "x"`.
 */
export const OBJECTS = {
  counter: { type: 'counter', command: 'counter' },
  quota: { type: 'quota', command: 'quota' },
  limit: { type: 'limit', command: 'limit' },
  'ct helper': { type: 'ct-helper', command: 'ctHelper', sets: 'ct helper set' },
  'ct timeout': { type: 'ct-timeout', command: 'ctTimeout', sets: 'ct timeout set' },
  'ct expectation': { type: 'ct-expectation', command: 'ctExpectation', sets: 'ct expectation set' },
  synproxy: { type: 'synproxy', command: 'synproxy' },
  secmark: { type: 'secmark', command: 'secmark', sets: 'meta secmark set' },
  tunnel: { type: 'tunnel', command: 'tunnel' },
} as const;

/** A kind of object in nft's words. */
export type ObjectName = keyof typeof OBJECTS;
/** nft's words for the kernel's type of an object; undefined where it has none. */
export function objectName(type: string | number | undefined): ObjectName | undefined {
  for (const name in OBJECTS) if (OBJECTS[name as ObjectName].type === type) return name as ObjectName;
  return undefined;
}
