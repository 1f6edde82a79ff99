// Starts the page: theme, settings, sign-in, and one open document at a time.

import { byId } from "./dom";
import { loadConfig, Session } from "./session";
import { showSignIn, startSignIn } from "./sign_in";
import { startTheme } from "./theme";
import { Workspace } from "./workspace";

async function start(): Promise<void> {
  startTheme();
  try {
    const config = await loadConfig();
    startSignIn(config, async (wanted) => {
      const session = await Session.start(config, wanted);
      new Workspace(config, session, showSignIn);
    });
  } catch {
    byId("form-error").textContent = "The server does not answer. Start it, then reload this page.";
    byId("open").setAttribute("disabled", "");
  }
  showSignIn();
}

void start();
