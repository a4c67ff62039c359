/*
 * Flat payloads: bytes at a fixed place, 64-bit, CPL 0; the whole ABI stands in guest/abi.h. The
 * mailbox is left as command 0 with base, count and stride set to the pages of the test memory.
 */
#include "guest/abi.h"
#include "guest/load/plan.h"

/* The test memory is the range of RAM that starts where the ABI says. */
static uint64_t test_pages(const struct load_target *target)
{
	for (unsigned i = 0; i < target->memory_count; i++)
		if (target->memory[i].start.raw == ABI_FLAT_REGION1)
			return target->memory[i].bytes >> PAGE_SHIFT;
	return 0;
}

static enum status write_mailbox(const struct load_target *target)
{
	uint64_t mail[8] = { 0 };

	mail[ABI_MAIL_BASE / 8] = ABI_FLAT_REGION1;
	mail[ABI_MAIL_COUNT / 8] = test_pages(target);
	mail[ABI_MAIL_STRIDE / 8] = PAGE_SIZE;
	return target->write(target->context, gpa(ABI_FLAT_MAILBOX), mail, sizeof(mail));
}

enum status load_flat(const struct load_request *request, struct plan *plan,
		      struct load_entry *entry)
{
	const struct load_file *image = &request->image;
	const uint64_t room = ABI_FLAT_REGION0 - ABI_FLAT_LOAD;
	enum status status;

	if (image->size > room)
		return text_refuse(plan->error,
				   "%s: a flat payload of %lu bytes; expected at most %lu",
				   image->name, image->size, room);
	if (request->module_count)
		return text_refuse(plan->error, "%s: a flat payload takes no modules; found %u",
				   image->name, request->module_count);
	if (!plan_is_ram(plan, 0, ABI_FLAT_LOAD))
		return text_refuse(plan->error, "%s: a flat payload needs RAM at 0..%#x",
				   image->name, ABI_FLAT_LOAD);
	status = plan_add(plan, "flat payload", (struct plan_piece){ ABI_FLAT_LOAD, image->size,
								      image->bytes, image->size });
	if (status)
		return status;

	status = plan_write(plan);
	if (!status)
		status = write_identity_tables(plan->target, ABI_FLAT_TABLES, 2);
	if (!status)
		status = write_mailbox(plan->target);
	*entry = (struct load_entry){
		.kind = "flat", .mode = LOAD_LONG, .rip = ABI_FLAT_LOAD, .cr3 = ABI_FLAT_TABLES,
		.rdi = ABI_FLAT_MAILBOX, .rsp = ABI_FLAT_STACK,
	};
	return status;
}
