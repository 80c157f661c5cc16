// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
)

// checkRoot looks for others who can replace the root, and for what was removed and cannot be deleted.
func (s *Snapshotter) checkRoot(context.Context) (found []Problem, _ error) {
	exposed, err := s.nodes.Exposed()
	for _, what := range exposed {
		found = append(found, Problem{Subject: "root", What: what})
	}
	for _, file := range s.nodes.Stuck() {
		rest, err := filepath.Rel(s.nodes.Root(), file.Path)
		if err != nil {
			return found, err
		}
		entry := strings.Join(strings.SplitN(rest, "/", 3)[:2], "/")
		what := fmt.Sprintf("of something that was removed: %v", file)
		found = append(found, Problem{Subject: entry, What: what})
	}
	return found, err
}

// warnExposed tells in the log who else can replace the root.
func (s *Snapshotter) warnExposed() {
	exposed, err := s.nodes.Exposed()
	for _, what := range exposed {
		log.L.Warn(what)
	}
	if err != nil {
		log.L.WithError(err).Warn("failed to find out who else can replace the state directory")
	}
}
