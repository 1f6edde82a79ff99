// Builds the page into dist/: hashed files below dist/assets, and an index.html that names them.
// dist/ is replaced as a whole at the end, so a server that serves it never sees half a build.
import { build } from "esbuild";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const fresh = join(here, `dist.new-${process.pid}`);
const dist = join(here, "dist");

async function bundle() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: ["src/main.ts", "src/first_paint.ts", "src/styles.css", "src/icon.svg"],
    outdir: join(fresh, "assets"),
    entryNames: "[name]-[hash]",
    bundle: true,
    minify: true,
    format: "iife",
    target: ["es2022"],
    loader: { ".svg": "copy" },
    legalComments: "eof",
    metafile: true,
    logLevel: "warning",
  });
  const outputs = Object.entries(result.metafile.outputs);
  return new Map(outputs.map(([file, { entryPoint }]) => [entryPoint, { name: basename(file), size: result.metafile.outputs[file].bytes }]));
}

async function writeIndex(files) {
  const html = await readFile(join(here, "src/index.html"), "utf8");
  const named = html.replaceAll(/"\.\/([a-z_]+\.(?:ts|css|svg))"/g, (_match, source) => {
    const file = files.get(`src/${source}`);
    if (file === undefined) throw new Error(`index.html names ${source}, which the build does not put out`);
    return `"/assets/${file.name}"`;
  });
  await writeFile(join(fresh, "index.html"), named);
}

try {
  await mkdir(fresh, { recursive: true });
  const files = await bundle();
  await writeIndex(files);
  await rm(dist, { recursive: true, force: true });
  await rename(fresh, dist);
  const size = [...files.values()].reduce((sum, file) => sum + file.size, 0);
  console.log(`web/dist built (${Math.round(size / 1024)} KiB)`);
} finally {
  await rm(fresh, { recursive: true, force: true });
}
