// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package runconfig

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// command is what an image runs.
type command struct{ entrypoint, whole []string }

func commandOf(c ocispec.ImageConfig) command {
	return command{c.Entrypoint, slices.Concat(c.Entrypoint, c.Cmd)}
}

// args replaces what the old image says at the beginning of a command, all of it or the entrypoint before a command of
// the user's.
func (r *rebase) args(is []string, older, newer ocispec.ImageConfig) []string {
	was, now := commandOf(older), commandOf(newer)
	if slices.Equal(was.whole, now.whole) && slices.Equal(was.entrypoint, now.entrypoint) {
		return is
	}
	tell := func(action, why string) {
		r.tell(Change{Subject: "args", Action: action, Old: strings.Join(was.whole, " "),
			New: strings.Join(now.whole, " "), Why: why})
	}
	out := moved(is, was, now)
	switch {
	case slices.Equal(out, is) && !settled(is, was, now):
		tell(Kept, "the container has its own command, and nothing is put before it")
	case slices.Equal(out, is):
	case len(out) == 0:
		tell(Note, "the new image has no command: the old one stays")
		return is
	case !slices.Equal(moved(out, was, now), out):
		// The result would be taken for something of the old image.
		tell(Note, "what is the image's and what is the container's cannot be told apart: the old command stays")
		return is
	default:
		tell(Changed, "")
	}
	return out
}

func moved(args []string, was, now command) []string {
	switch {
	case slices.Equal(args, was.whole):
		return now.whole
	case settled(args, was, now), len(was.entrypoint) == 0, !hasPrefix(args, was.entrypoint):
		return args
	}
	return slices.Concat(now.entrypoint, args[len(was.entrypoint):])
}

// settled reports whether a command begins with what the new image says, though the old one says a part of it.
func settled(args []string, was, now command) bool {
	return slices.Equal(args, now.whole) || len(now.entrypoint) > 0 && hasPrefix(now.entrypoint, was.entrypoint) &&
		hasPrefix(args, now.entrypoint) ||
		len(now.entrypoint) > 0 && !hasPrefix(args, was.entrypoint) && hasPrefix(args, now.entrypoint)
}

func hasPrefix(args, prefix []string) bool {
	return len(args) >= len(prefix) && slices.Equal(args[:len(prefix)], prefix)
}
