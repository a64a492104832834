// The build is committed to the package: stable names, no source maps, nothing inline, so that the same source gives the same bytes
// and a strict content security policy holds.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const server = process.env.GREENROOM_URL ?? 'http://127.0.0.1:8765';

export default defineConfig({
  plugins: [react()],
  base: '/',
  build: {
    outDir: '../src/greenroom/ui/dist',
    emptyOutDir: true,
    sourcemap: false,
    target: 'es2022',
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/[name].js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/[name][extname]',
      },
    },
  },
  server: { proxy: { '/v1': server, '/api': server, '/login': server } },
  test: { environment: 'node', include: ['src/**/*.test.ts', 'src/**/*.test.tsx'] },
});
