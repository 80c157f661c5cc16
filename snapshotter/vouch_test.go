// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

func trusting(until snapshotter.OnCommit, sources ...string) snapshotter.Opt {
	return snapshotter.WithOnCommit(snapshotter.CommitPolicy{
		Client: snapshotter.NotifyCommit, Image: snapshotter.NotifyCommit, Written: snapshotter.IgnoreCommit, Trusted: until, Sources: sources,
	})
}

// TestTrustedSource: an image does more than announce an update once containerd has a name for it from a trusted source, and only
// if the image of that name announces the same; also when the daemon was restarted before containerd had the name.
func TestTrustedSource(t *testing.T) {
	const source = "registry.test/team/"
	for name, c := range map[string]struct {
		until   snapshotter.OnCommit
		sources []string
		image   string
		says    string // "one" for the base
		restart bool
		want    dag.State
	}{
		"staged":                {snapshotter.StageCommit, []string{source}, "registry.test/team/app:2", "one", false, dag.Staged},
		"applied":               {snapshotter.ApplyCommit, []string{"x.test/y", source}, "registry.test/team/app:2", "one", false, dag.Applied},
		"after a restart":       {snapshotter.StageCommit, []string{source}, "registry.test/team/app:2", "one", true, dag.Staged},
		"one repository":        {snapshotter.StageCommit, []string{"registry.test/team/app"}, "registry.test/team/app@sha256:00", "one", false, dag.Staged},
		"notified":              {snapshotter.NotifyCommit, []string{source}, "registry.test/team/app:2", "one", false, dag.Announced},
		"no sources":            {snapshotter.ApplyCommit, nil, "registry.test/team/app:2", "one", false, dag.Announced},
		"another source":        {snapshotter.ApplyCommit, []string{source}, "registry.test/teams/app:2", "one", false, dag.Announced},
		"another repository":    {snapshotter.ApplyCommit, []string{"registry.test/team/app"}, "registry.test/team/application:2", "one", false, dag.Announced},
		"it announces nothing":  {snapshotter.ApplyCommit, []string{source}, "registry.test/team/app:2", "", false, dag.Announced},
		"it announces another":  {snapshotter.ApplyCommit, []string{source}, "registry.test/team/app:2", "other", false, dag.Announced},
		"it announces no layer": {snapshotter.ApplyCommit, []string{source}, "registry.test/team/app:2", "none", false, dag.Announced},
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
				if c.until != snapshotter.NotifyCommit && len(c.sources) > 0 {
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
		if err := snapshotter.Validate(trusting(snapshotter.StageCommit, source)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("source %q: got %v", source, err)
		}
	}
	if err := snapshotter.Validate(trusting("always", "registry.test/")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("got %v", err)
	}
}
