"""The `orlop` command. `registry` lists the commands; each is one module under `commands`,
imported only when it runs."""
