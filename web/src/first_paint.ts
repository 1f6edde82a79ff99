// Loaded before the page is painted, so that a dark page never flashes light.

import { applyTheme } from "./theme";

applyTheme();
