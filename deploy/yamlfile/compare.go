package yamlfile

import "go.yaml.in/yaml/v4"

// onlyDiffers tells whether the tree b is the tree a but for the value v at
// path, which a may lack.
func onlyDiffers(a, b *yaml.Node, path []string, v Value) bool {
	if !sameNode(a, b) || a.Kind != yaml.MappingNode {
		return false
	}
	key := path[0]
	left, right := entries(a), entries(b)
	was, is := find(left, key), find(right, key)
	if is < 0 {
		return false
	}
	next := right[is].value
	if was < 0 {
		return len(path) == 1 && v.is(next) && sameList(left, append(right[:is:is], right[is+1:]...), -1)
	}
	if was != is || !sameTree(left[was].key, right[is].key) || !sameList(left, right, is) {
		return false
	}
	if len(path) == 1 {
		return v.is(next)
	}
	return onlyDiffers(left[was].value, next, path[1:], v)
}

func find(list []entry, key string) int {
	for i, e := range list {
		if e.key.Kind == yaml.ScalarNode && e.key.Value == key && e.key.ShortTag() == strTag {
			return i
		}
	}
	return -1
}

// sameList compares entries, leaving out the one with index skip.
func sameList(a, b []entry, skip int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if i != skip && (!sameTree(a[i].key, b[i].key) || !sameTree(a[i].value, b[i].value)) {
			return false
		}
	}
	return true
}

func sameTree(a, b *yaml.Node) bool {
	if !sameNode(a, b) || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameTree(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// sameNode compares two nodes without their children. Comments are left out:
// an edit keeps their bytes, and one that were swallowed by a value would show
// in that value.
func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Style == b.Style && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor
}
