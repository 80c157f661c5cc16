// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Root looks for others who can replace the root, and for what was removed and cannot be deleted.
func (c *Checker) Root(context.Context) (found []Problem, _ error) {
	exposed, err := c.nodes.Exposed()
	for _, what := range exposed {
		found = append(found, Problem{Subject: "root", What: what})
	}
	for _, file := range c.nodes.Stuck() {
		rest, err := filepath.Rel(c.nodes.Root(), file.Path)
		if err != nil {
			return found, err
		}
		entry := strings.Join(strings.SplitN(rest, "/", 3)[:2], "/")
		what := fmt.Sprintf("of something that was removed: %v", file)
		found = append(found, Problem{Subject: entry, What: what})
	}
	return found, err
}
