/*
 * Which kind of image a file is, and the way to its loader. Only the first 8 KiB of a file decide,
 * and no more of it is read until its size has been found to make sense.
 */
#include "guest/load/load.h"

#include "guest/load/plan.h"

static bool named_flat(const char *name)
{
	size_t length = __builtin_strlen(name);

	return length > 4 && !__builtin_memcmp(name + length - 4, ".bin", 4);
}

static bool is_elf(const struct load_file *image)
{
	return image->size >= 4 && !__builtin_memcmp(image->bytes, "\177ELF", 4);
}

enum status load_recognise(const struct load_file *image, enum load_kind *kind, char *error)
{
	if (!image->size)
		return text_refuse(error, "%s: the file is empty; expected a multiboot 1 kernel, a "
				   "Linux bzImage or a flat payload (.bin)", image->name);

	/* By content first: memtest86+'s file is a Linux image with a name that ends in .bin. */
	if (linux_found(image))
		*kind = LOAD_LINUX;
	else if (multiboot_found(image))
		*kind = LOAD_MULTIBOOT;
	else if (is_elf(image))
		return text_refuse(error,
				   "%s: an ELF file without a multiboot 1 header in its first "
				   "8192 bytes; expected one",
				   image->name);
	else if (named_flat(image->name))
		*kind = LOAD_FLAT;
	else
		return text_refuse(error,
				   "%s: neither a multiboot 1 header nor a Linux boot sector, "
				   "and the name does not end in .bin",
				   image->name);
	return STATUS_OK;
}

static enum status check_request(const struct load_request *request, char *error)
{
	if (request->module_count > LOAD_MODULES_MAX)
		return text_refuse(error, "%u modules: at most %u", request->module_count,
				   (unsigned)LOAD_MODULES_MAX);
	for (unsigned i = 0; i < request->module_count; i++)
		if (!request->modules[i].size)
			return text_refuse(error, "%s: the file is empty; expected a module",
					   request->modules[i].name);
	return STATUS_OK;
}

enum status load_guest(const struct load_request *request, const struct load_target *target,
		       struct load_entry *entry, char *error)
{
	struct plan plan = { .target = target, .error = error };
	enum load_kind kind;
	enum status status = load_recognise(&request->image, &kind, error);

	if (!status)
		status = check_request(request, error);
	if (status)
		return status;

	*entry = (struct load_entry){ 0 };
	error[0] = '\0';
	switch (kind) {
	case LOAD_FLAT:
		status = load_flat(request, &plan, entry);
		break;
	case LOAD_MULTIBOOT:
		status = load_multiboot(request, &plan, entry);
		break;
	case LOAD_LINUX:
		status = load_linux(request, &plan, entry);
		break;
	}
	if (status && !error[0])
		text_format(error, LOAD_ERROR_MAX, "%s: writing to guest memory: %s",
			    request->image.name, status_name(status));
	return status;
}
