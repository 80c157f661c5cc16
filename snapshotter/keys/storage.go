// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

// part is what a part of the name of a storage may be. It keeps anonymous storages, which begin with "~", apart.
var part = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)

// maxName is how long the full name of a storage may be, in bytes: as long as the labels of containerd that give one.
const maxName = 4096

// StorageName returns the full name of a storage: the containerd namespace, and parts that tell the storages of one
// namespace apart, joined by slashes. It fails with errdefs.ErrInvalidArgument for parts that are empty, too long or
// hold other characters than letters, digits, '_', '.' and '-', and for names of more than 4096 bytes.
func StorageName(namespace string, parts ...string) (string, error) {
	if namespace == "" {
		return "", fmt.Errorf("storage %q needs a containerd namespace: %w", strings.Join(parts, "/"),
			errdefs.ErrInvalidArgument)
	}
	all := append([]string{namespace}, parts...)
	for _, p := range all {
		if !part.MatchString(p) {
			return "", fmt.Errorf("storage name %q: each part must be 1 to 128 letters, digits, '_', '.' or '-' and "+
				"begin "+
				"with a letter or digit: %w", p, errdefs.ErrInvalidArgument)
		}
	}
	full := strings.Join(all, "/")
	if len(full) > maxName {
		return "", fmt.Errorf("storage name %.40q... has more than %d bytes: %w", full, maxName,
			errdefs.ErrInvalidArgument)
	}
	return full, nil
}
