// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Pin keeps a path the user's, whatever the base does: what the user sees there is kept, from the old base as well,
// and what the new base has there and the user does not, stays away.
type Pin struct {
	// Path is relative to the root, with or without a leading slash. It stands for itself and everything below; with a
	// pattern (*, ?, [...], which match within a name) for what matches and everything below. A pattern without any
	// slash matches names in every directory; with a slash at its end a path stands only for what is below.
	Path string `json:"path" toml:"path"`
	// Reason is for people.
	Reason string `json:"reason,omitempty" toml:"reason,omitempty"`
	// Expires ends the pin; the zero time never does.
	Expires time.Time `json:"expires,omitzero" toml:"expires,omitzero"`
}

// checkSelector returns what is wrong with the path of a pin.
func checkSelector(text string) error {
	clean := strings.Trim(text, "/")
	switch {
	case strings.Trim(clean, ".") == "":
		return errors.New("it stands for the whole root; name a path below it")
	case slices.Contains(strings.Split(clean, "/"), ".."), path.Clean(clean) != clean:
		return errors.New("empty names, . and .. are not allowed in it")
	}
	if _, err := path.Match(clean, ""); err != nil {
		return fmt.Errorf("%w: allowed are *, ? and [...], and \\ before a character that is meant itself", err)
	}
	return nil
}
