// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// LabelUpdateOf is the label that marks a layer as an update of another one: the chain ID or the key of that, or the
// name of an image. It counts on the active key, however it came there, and when it is given to Commit.
const LabelUpdateOf = "containerd.io/snapshot/molt.update-of"

// OnCommit says what is done when a layer is committed that updates a base on which storages stand.
type OnCommit string

// The policies for such a layer.
const (
	// IgnoreCommit does nothing.
	IgnoreCommit OnCommit = "ignore"
	// NotifyCommit records the update; somebody has to ask for it.
	NotifyCommit OnCommit = "notify"
	// StageCommit determines the side effects on each storage, too; somebody has to ask for the storages to be moved.
	StageCommit OnCommit = "stage"
	// ApplyCommit moves the storages.
	ApplyCommit OnCommit = "apply"
)

// CommitPolicy says what is done when a layer is committed that updates a base, by who says that it does.
type CommitPolicy struct {
	// Client is for a layer that a client labels, see [LabelUpdateOf].
	Client OnCommit
	// Image is for a layer that an image marks by an annotation. Where an image comes from is not known yet, so that
	// it does not do more than notify.
	Image OnCommit
	// Trusted is for such a layer once containerd has a name for the image that is from one of Sources; empty for
	// nothing more than Image.
	Trusted OnCommit
	// Sources are repositories whose images are trusted, each with its registry as containerd writes it:
	// "registry.example/team/app", or all below "registry.example/team/".
	Sources []string
	// Written is for a layer that was not unpacked from an image, right on a layer on which storages stand.
	Written OnCommit
}

// Validate returns what is wrong with a policy.
func (p CommitPolicy) Validate() error {
	for kind, policy := range map[string]OnCommit{"client": p.Client, "image": p.Image, "written": p.Written} {
		if !slices.Contains([]OnCommit{IgnoreCommit, NotifyCommit, StageCommit, ApplyCommit}, policy) {
			return fmt.Errorf("on commit, %s %q: must be %q, %q, %q or %q: %w",
				kind, policy, IgnoreCommit, NotifyCommit, StageCommit, ApplyCommit, errdefs.ErrInvalidArgument)
		}
	}
	if p.Image != IgnoreCommit && p.Image != NotifyCommit {
		return fmt.Errorf("on commit, image %q: must be %q or %q, because nobody vouches for what an image says of "+
			"itself: %w",
			p.Image, IgnoreCommit, NotifyCommit, errdefs.ErrInvalidArgument)
	}
	return p.validateSources()
}

// until returns how far an update goes by itself.
func (p OnCommit) until() dag.State {
	switch p {
	case NotifyCommit:
		return dag.Announced
	case StageCommit:
		return dag.Staged
	}
	return ""
}

// What an image says of itself is vouched for by the name that containerd has for it, which nobody but who pulled it
// gave: a label or an annotation that says where the image comes from is the image's own word. containerd has the
// name once all layers are unpacked, which is after the last of them was committed.

// trusts reports whether the images of some sources do more than is announced.
func (p CommitPolicy) trusts() bool {
	return len(p.Sources) > 0 && (p.Trusted == StageCommit || p.Trusted == ApplyCommit)
}

// validateSources returns what is wrong with the trusted sources.
func (p CommitPolicy) validateSources() error {
	if !slices.Contains([]OnCommit{"", IgnoreCommit, NotifyCommit, StageCommit, ApplyCommit}, p.Trusted) {
		return fmt.Errorf("on commit, trusted %q: must be %q, %q or %q: %w",
			p.Trusted, NotifyCommit, StageCommit, ApplyCommit, errdefs.ErrInvalidArgument)
	}
	for _, source := range p.Sources {
		host, path, ok := strings.Cut(source, "/")
		whole := ok && host != "" && (path != "" || strings.HasSuffix(source, "/"))
		if !whole || strings.ContainsAny(source, " @*") {
			return fmt.Errorf("on commit, source %q: must be a repository with its registry, as "+
				"\"registry.example/team/app\", "+
				"or end with \"/\" for all below: %w", source, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
