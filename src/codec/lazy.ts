/**
 * A value that is made when it is first asked for: tables of a module, so that an import does no work. The value is kept.
 * @param make makes it; it is called once
 */
export function lazy<T extends object>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
