// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// checkExecutable checks a program, a library or a script.
func (c *checker) checkExecutable(t sides.Three, o sides.Outcome) error {
	if o.Mode&0o111 == 0 && !strings.Contains(path.Base(t.Path), ".so") {
		return nil
	}
	content, closer, err := o.Open()
	if err != nil {
		return err
	}
	defer closer.Close()
	head := make([]byte, 256)
	n, err := content.ReadAt(head, 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt gives it as it is
		return fmt.Errorf("read %s: %w", tree.Shown(t.Path), err)
	}
	head = head[:n]
	switch {
	case strings.HasPrefix(string(head), elfdeps.Magic):
		return c.checkProgram(t, o, content)
	case strings.HasPrefix(string(head), "#!") && o.Mode&0o111 != 0:
		return c.checkScript(t, string(head))
	}
	return nil
}
