"""How right the whole path is: a scene whose truth is known, played through it, and the scoreboard."""
