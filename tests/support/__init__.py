"""What the tests stand on: a live daemon, images made on the spot, small disks, a search for what was left."""
