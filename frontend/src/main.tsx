/** Where it begins. */
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app';
import { Boundary, PageFailed } from './ui/boundary';
import { watchCompositions } from './ui/keys';
import './styles/index.css';

const root = document.getElementById('root');
if (!root) throw new Error('the page has no #root');
watchCompositions(document);
createRoot(root).render(
  <StrictMode>
    <Boundary fallback={(error) => <PageFailed error={error} />}>
      <App />
    </Boundary>
  </StrictMode>,
);
