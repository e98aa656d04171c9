/** More changes than these, and the places of all names are found anew. */
const FEW = 16;

/**
 * The names of the objects of a list, and where each stands. A handle keeps it from one call to the next: a caller's list of thousands of
 * objects is nearly the same each time, and to compare its names with those of the last call is a fraction of looking each of them up.
 */
export class NameColumn<T> {
  readonly #nameOf: (object: T) => string | undefined;
  /** Undefined where an object has no name that says where it belongs. */
  #names: (string | undefined)[] = [];
  /** By name; made when names are asked for again. */
  #places: Map<string | undefined, number[]> | undefined;
  #isAsked = false;

  /** @param nameOf undefined for an object that is wanted under any name */
  constructor(nameOf: (object: T) => string | undefined) {
    this.#nameOf = nameOf;
  }

  /** Takes a list, which may be another one than before or have changed. */
  follow(list: readonly T[]): void {
    const names = this.#names;
    if (list.length < names.length) {
      names.length = list.length;
      this.#forget();
    }
    let changes = 0;
    for (let i = 0; i < list.length; i++) {
      const name = this.#nameOf(list[i]!);
      if (i < names.length && name === names[i]) continue;
      if (++changes > FEW) this.#forget();
      const places = this.#places;
      if (places !== undefined) {
        if (i < names.length) remove(places, names[i], i);
        insert(places, name, i);
      }
      names[i] = name;
    }
  }

  #forget(): void {
    this.#places = undefined;
    this.#isAsked = false;
  }

  /** The places of all objects by these names, and of those that are wanted under any name: in the order of the list. */
  placesOf(wanted: ReadonlySet<unknown>): number[] {
    const found: number[] = [];
    if (this.#places === undefined && !this.#isAsked) {
      this.#isAsked = true;
      for (let i = 0; i < this.#names.length; i++) {
        const name = this.#names[i];
        if (name === undefined || wanted.has(name)) found.push(i);
      }
      return found;
    }
    const places = this.#places ?? this.#find();
    for (const place of places.get(undefined) ?? []) found.push(place);
    for (const name of wanted)
      if (typeof name === 'string') for (const place of places.get(name) ?? []) found.push(place);
    return found.sort((a, b) => a - b);
  }

  #find(): Map<string | undefined, number[]> {
    const places = new Map<string | undefined, number[]>();
    for (let i = 0; i < this.#names.length; i++) insert(places, this.#names[i], i);
    this.#places = places;
    return places;
  }
}

function insert(places: Map<string | undefined, number[]>, name: string | undefined, place: number): void {
  const known = places.get(name);
  if (known === undefined) places.set(name, [place]);
  else known.push(place);
}

function remove(places: Map<string | undefined, number[]>, name: string | undefined, place: number): void {
  const others = (places.get(name) ?? []).filter(each => each !== place);
  if (others.length === 0) places.delete(name);
  else places.set(name, others);
}
