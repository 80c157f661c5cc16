// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tree reads and writes directory trees with the semantics of overlayfs, in user space and without mounting.
//
// A Stack names the directories of an overlay, the topmost first. A View shows a stack as the kernel would show it
// (whiteouts hide, opaque directories cut, non-directories hide what is below them); View.Walk shows instead what the
// stack itself says, with its whiteouts and opaque marks, as needed for storage nodes that stand on a base of their
// own. A Writer fills one directory. Seal, Merge and Compare are the operations on nodes.
//
// The content of the directories is hostile: every access is relative to a directory descriptor and cannot leave it, no
// symbolic link is followed, no FIFO or device is opened. Paths are relative to the root, clean, separated by slashes
// and made of bytes; "." is the root.
package tree
