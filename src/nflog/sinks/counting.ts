/** An arrow function with at most one parameter, and no default of it: its source up to the body. */
const ARROW = /^(?:async\s*)?(?:\(\s*([\w$]*)\s*\)|([\w$]+))\s*=>/;
/** What can reach a parameter without its name, or writes a name otherwise than we look for it. */
const HIDDEN = /\beval\b|\\/;
const PART = '[\\p{ID_Continue}$\\u200c\\u200d]';

/**
 * Whether a handler of batches asks for nothing but how many packets there are, so that none need be made, and their memory can be read over.
 * Only its source can tell: a list that is stored somewhere may be looked at at any later time. In an arrow function whose text has the
 * parameter's name only in front of `.length`, nothing can store it. Of any other function the answer is no.
 */
export function onlyCounts(handler: (packets: never) => unknown): boolean {
  const source = Function.prototype.toString.call(handler);
  const arrow = ARROW.exec(source);
  if (arrow === null || HIDDEN.test(source)) return false;
  const name = (arrow[1] ?? arrow[2]!).replaceAll('$', '\\$');
  if (name === '') return true;
  const other = new RegExp(`(?<!${PART})${name}(?!${PART})(?!\\.length(?!${PART}))`, 'u');
  return !other.test(source.slice(arrow[0].length));
}
