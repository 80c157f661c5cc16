// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listing describes a whole tree: for each path all that is to stay, a line each. Times at which the engine did something
// differ from run to run and are not told.
func listing(root string) (string, error) {
	var lines []string
	linked := map[uint64]string{} // the first path of each file with several names
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		line, err := describe(path, name, linked)
		lines = append(lines, line)
		return err
	})
	return strings.Join(lines, "\n"), err
}

func describe(path, name string, linked map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s mode %o owner %d:%d time %s", name, st.Mode, st.Uid, st.Gid, told(st.Mtim))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" size %d content %s", st.Size, digest(string(data)))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		line += " to " + target
	case unix.S_IFCHR, unix.S_IFBLK:
		line += fmt.Sprintf(" device %d", st.Rdev)
	}
	if first, ok := linked[st.Ino]; ok {
		line += " is " + first
	} else if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		linked[st.Ino] = name
	}
	attributes, err := attributesOf(path)
	return line + attributes, err
}

func told(at unix.Timespec) string {
	if time.Unix(at.Unix()).After(cutoff()) {
		return "recent"
	}
	return fmt.Sprintf("%d.%09d", at.Sec, at.Nsec)
}

func attributesOf(path string) (string, error) {
	buffer := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buffer)
	if err != nil || n == 0 {
		return "", err
	}
	names := strings.Split(strings.TrimSuffix(string(buffer[:n]), "\x00"), "\x00")
	slices.Sort(names)
	var text strings.Builder
	for _, name := range names {
		n, err := unix.Lgetxattr(path, name, buffer)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, " %s=%q", name, buffer[:n])
	}
	return text.String(), nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
