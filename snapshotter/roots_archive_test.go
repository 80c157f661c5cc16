// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// xattrRecord begins the name of the PAX record that holds an extended attribute, as GNU tar and bsdtar write it.
const xattrRecord = "SCHILY.xattr."

// pack writes a directory, with extended attributes, devices and hard links, to a compressed archive.
func pack(dir, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	p := packer{dir: dir, w: tar.NewWriter(z), names: map[uint64]string{}}
	err = filepath.WalkDir(dir, p.add)
	return errors.Join(err, p.w.Close(), z.Close())
}

type packer struct {
	dir   string
	w     *tar.Writer
	names map[uint64]string // the first name of each file with several, by its inode
}

func (p packer) add(path string, _ fs.DirEntry, err error) error {
	name, relErr := filepath.Rel(p.dir, path)
	if err = errors.Join(err, relErr); err != nil || name == "." {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Format, h.AccessTime, h.ChangeTime = name, tar.FormatPAX, time.Time{}, time.Time{}
	h.Uname, h.Gname = "", ""
	if first, ok := p.names[st.Ino]; ok {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return p.w.WriteHeader(h)
	}
	if st.Nlink > 1 && !info.IsDir() {
		p.names[st.Ino] = name
	}
	if h.PAXRecords, err = xattrRecords(path); err != nil {
		return err
	}
	if err := p.w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	data, err := os.ReadFile(path)
	if err == nil {
		_, err = p.w.Write(data)
	}
	return err
}

func xattrRecords(path string) (map[string]string, error) {
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return nil, err
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		records[xattrRecord+name] = string(value[:n])
	}
	return records, nil
}

// unpack makes a directory of what pack wrote.
func unpack(path, dir string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	directories := map[string]time.Time{} // whose times are set at the end
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = unpackOne(dir, h, r)
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			directories[filepath.Join(dir, h.Name)] = h.ModTime
		}
	}
	for path, t := range directories {
		if err := os.Chtimes(path, t, t); err != nil {
			return err
		}
	}
	return nil
}

func unpackOne(dir string, h *tar.Header, content io.Reader) (err error) {
	path := filepath.Join(dir, h.Name)
	switch h.Typeflag {
	case tar.TypeLink:
		return os.Link(filepath.Join(dir, h.Linkname), path)
	case tar.TypeDir:
		err = os.Mkdir(path, 0o700)
	case tar.TypeSymlink:
		err = os.Symlink(h.Linkname, path)
	case tar.TypeChar:
		err = unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	default:
		var data []byte
		if data, err = io.ReadAll(content); err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
	}
	if err == nil {
		err = os.Lchown(path, h.Uid, h.Gid)
	}
	for record, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(record, xattrRecord); ok && err == nil {
			err = unix.Lsetxattr(path, name, []byte(value), 0)
		}
	}
	if err != nil || h.Typeflag == tar.TypeSymlink {
		return err
	}
	return errors.Join(os.Chmod(path, h.FileInfo().Mode()), os.Chtimes(path, h.ModTime, h.ModTime))
}
