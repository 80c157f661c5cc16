// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

// part is what a part of the name of a storage may be. It keeps anonymous storages, which begin with "~", apart.
var part = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// StorageName returns the full name of a storage: the containerd namespace, and parts that tell the storages of one
// namespace apart, joined by slashes. It fails with errdefs.ErrInvalidArgument for parts that are empty, too long or hold
// other characters than letters, digits, '_', '.' and '-'.
func StorageName(namespace string, parts ...string) (string, error) {
	if namespace == "" {
		return "", fmt.Errorf("storage %q needs a containerd namespace: %w", strings.Join(parts, "/"), errdefs.ErrInvalidArgument)
	}
	all := append([]string{namespace}, parts...)
	for _, p := range all {
		if !part.MatchString(p) {
			return "", fmt.Errorf("storage name %q: each part must be 1 to 128 letters, digits, '_', '.' or '-' and begin with a letter or digit: %w", p, errdefs.ErrInvalidArgument)
		}
	}
	return strings.Join(all, "/"), nil
}
