// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// Renamed returns where a configuration file is that the maintainer scripts of the new base's packages move, for
// versions up to the one of the old base. The scripts are read, and never run.
func (b *books) Renamed(p string) (string, error) {
	if b.moves == nil {
		if err := b.readMoves(); err != nil {
			return "", err
		}
	}
	return b.moves[p], nil
}

// readMoves reads the maintainer scripts of the packages that the new base has in other versions.
func (b *books) readMoves() error {
	b.moves = make(map[string]string)
	for i := range b.choices {
		c := &b.choices[i]
		if !c.Old.Installed() || !c.New.Installed() || c.Old.Version == c.New.Version {
			continue
		}
		for _, script := range []string{"preinst", "postinst"} {
			content, err := b.info(c, sides.New, script)
			if err != nil {
				return err
			}
			for _, m := range dpkg.Moves(string(content)) {
				if order, err := dpkg.Compare(c.Old.Version, m.Before); m.Before == "" || err == nil && order <= 0 {
					b.moves[m.From] = m.To
				}
			}
		}
	}
	return nil
}
