/** Pages that are packed. Their links to each other stay. */
export const PACKED_PAGES = ['README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE'];

/** What package.json says of the package. */
interface Manifest {
  readonly version: string;
  readonly repository?: string | { readonly url: string };
}

/**
 * A page as it is packed. It may link to pages that are not: those become links into the repository, or the path is named where package.json knows no
 * repository.
 */
export function packedPage(page: string, { version, repository }: Manifest): string {
  const url = typeof repository === 'string' ? repository : repository?.url;
  const base = url?.replace(/^git\+/, '').replace(/\.git$/, '');
  const elsewhere = (text: string, target: string) =>
    base === undefined ? named(text, target) : `[${text}](${base}/blob/v${version}/${target})`;
  let moved = false;
  const body = page.replace(LINK, (link, text: string, target: string) => {
    if (PACKED_PAGES.includes(target.split('#')[0]!)) return link;
    moved = true;
    return elsewhere(text, target);
  });
  if (!moved || base !== undefined) return body;
  const [title, ...rest] = body.split('\n\n');
  return [title, `Paths like \`docs/ipvs.md\` are in the repository, at the tag v${version}.`, ...rest].join('\n\n');
}

/** A link to a file: `[text](target)`. */
const LINK = /\[([^\]]+)\]\((?!https?:|#)([^)]+)\)/g;

/** `docs/ipvs.md`, or `Balance (docs/guide/balance.md)`. */
function named(text: string, target: string): string {
  const file = target.split('#')[0]!;
  return text === file ? `\`${file}\`` : `${text} (\`${file}\`)`;
}
