// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

func trusting(until updates.OnCommit, sources ...string) snapshotter.Opt {
	return snapshotter.WithOnCommit(updates.CommitPolicy{
		Client: updates.NotifyCommit, Image: updates.NotifyCommit, Written: updates.IgnoreCommit, Trusted: until, Sources: sources,
	})
}

// TestTrustedSource: an image does more than announce an update once containerd has a name for it from a trusted source, and only
// if the image of that name announces the same; also when the daemon was restarted before containerd had the name.
func TestTrustedSource(t *testing.T) {
	const source = "registry.test/team/"
	for name, c := range map[string]struct {
		until   updates.OnCommit
		sources []string
		image   string
		says    string // "one" for the base
		restart bool
		want    dag.State
	}{
		"staged":                {updates.StageCommit, []string{source}, "registry.test/team/app:2", "one", false, dag.Staged},
		"applied":               {updates.ApplyCommit, []string{"x.test/y", source}, "registry.test/team/app:2", "one", false, dag.Applied},
		"after a restart":       {updates.StageCommit, []string{source}, "registry.test/team/app:2", "one", true, dag.Staged},
		"one repository":        {updates.StageCommit, []string{"registry.test/team/app"}, "registry.test/team/app@sha256:00", "one", false, dag.Staged},
		"notified":              {updates.NotifyCommit, []string{source}, "registry.test/team/app:2", "one", false, dag.Announced},
		"no sources":            {updates.ApplyCommit, nil, "registry.test/team/app:2", "one", false, dag.Announced},
		"another source":        {updates.ApplyCommit, []string{source}, "registry.test/teams/app:2", "one", false, dag.Announced},
		"another repository":    {updates.ApplyCommit, []string{"registry.test/team/app"}, "registry.test/team/application:2", "one", false, dag.Announced},
		"it announces nothing":  {updates.ApplyCommit, []string{source}, "registry.test/team/app:2", "", false, dag.Announced},
		"it announces another":  {updates.ApplyCommit, []string{source}, "registry.test/team/app:2", "other", false, dag.Announced},
		"it announces no layer": {updates.ApplyCommit, []string{source}, "registry.test/team/app:2", "none", false, dag.Announced},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, trusting(c.until, c.sources...))
			defer f.close()
			one := f.first()
			f.layer("other", one, map[string]string{"other": "1"})
			f.web(one)
			f.pulled("two", one, chainID("one"))
			f.is(dag.Announced)
			if c.restart {
				f.reopen()
			}
			says := map[string]string{"one": chainID("one"), "other": chainID("other"), "none": "none", "": ""}[c.says]
			f.host.announce(map[string]string{c.image: says, "elsewhere.test/app:2": chainID("one")})
			if c.want == dag.Announced {
				if c.until != updates.NotifyCommit && len(c.sources) > 0 {
					f.eventually(func() bool { return f.host.lookedTwice() }, "containerd is asked twice")
				}
				f.is(dag.Announced)
				return
			}
			f.eventually(func() bool { return f.updates()[0].Outcomes["test/web"].State == c.want }, "the update is %s", c.want)
		})
	}
}

// TestTrustedSourcesRefused: what is no repository with its registry is none.
func TestTrustedSourcesRefused(t *testing.T) {
	for _, source := range []string{"", "app", "/app", "registry.test/a b", "registry.test/app@sha256:00", "registry.test/*", "registry.test/app:*"} {
		if err := snapshotter.Validate(trusting(updates.StageCommit, source)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("source %q: got %v", source, err)
		}
	}
	if err := snapshotter.Validate(trusting("always", "registry.test/")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
}
