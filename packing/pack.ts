import fs from 'node:fs';
import path from 'node:path';
import { PACKED_PAGES, packedPage } from './pages.ts';

/*
 * Run by npm around `npm pack`: `before` puts the pages as they are packed in the place of the repository's, and `after` puts those back. npm takes
 * README.md from the folder itself, and from nowhere else.
 */

const KEPT = 'build/pages';

if (process.argv[2] === 'before') {
  fs.mkdirSync(KEPT, { recursive: true });
  const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8'));
  for (const name of PACKED_PAGES) {
    const page = fs.readFileSync(name, 'utf8');
    const packed = packedPage(page, manifest);
    // A page that a broken-off run has left behind is packed already: the repository's is the one that is kept.
    if (packed === page) continue;
    fs.writeFileSync(path.join(KEPT, name), page);
    fs.writeFileSync(name, packed);
  }
} else {
  for (const name of fs.existsSync(KEPT) ? fs.readdirSync(KEPT) : [])
    fs.writeFileSync(name, fs.readFileSync(path.join(KEPT, name)));
  fs.rmSync(KEPT, { recursive: true, force: true });
}
