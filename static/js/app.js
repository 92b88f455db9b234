// The entry: each module finds its own elements on the page and does nothing where there are none.
import { startAnswers } from "./answer.js";
import { startFeedback } from "./feedback.js";
import { startMenus } from "./menus.js";
import { startReader } from "./reader.js";
import { startReadiness } from "./readiness.js";
import { startShortcuts } from "./shortcuts.js";
import { startTheme } from "./theme.js";
import { startUploads } from "./upload.js";

startTheme();
startMenus();
startReadiness();
startShortcuts();
startReader();
startUploads();
startAnswers();
startFeedback();
