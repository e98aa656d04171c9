/** Numbers from 0 to 2^32 - 1 in no order, the same in each run. */
export function numbers(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return ((state >>> 8) ^ (state << 24)) >>> 0;
  };
}
